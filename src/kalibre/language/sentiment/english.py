"""The English tables: headlines of the wires, read by the same rules as Turkish ones."""

from __future__ import annotations

from kalibre.language.sentiment.lexicon import Lexicon, weights

ENGLISH = Lexicon(
    moves=weights(
        {
            1.3: "soar surge skyrocket rocket$ rockets$ rally rallie jump",
            1.0: """
                rise$ rises$ rising$ rose$ risen$ gain climb advanc increas grow$ grows$ growing$ grew$ grown$ growth
                strengthen rebound recover improv beat$ beats$ beating$ accelerat expand expans upgrad upbeat boost rais
                double$ doubles$ doubled$ triple outperform optimis bullish higher$ up$ swells$ swell$ widens$ widen$
                """,
            0.8: """
                record$ records$ strong stronger$ robust positive resilient edge$up top$ tops$ topped$ exceed
                narrows$
                """,
            0.6: "above$ high$ highs$ firm$ firms$ firmer$ firmed$ better$ lifts$ lift$ lifted$ buoy outpac eases$up",
            -0.6: "below$ low$ lows$ soft$ softer$ softens$ softened$ weigh slow$ slows$ slowing$ slowed$ cool$ cools$",
            -0.8: """
                weak weaker$ weaken negative disappoint miss$ misses$ missed$ lower$ lowers$ lowered$ cut$ cuts$
                cutting$
                trim$ trims$ trimmed$ ease$ eases$ eased$ easing$ narrow$ retreat pare$ pares$ pared$ dent$ dents$
                dented$
                downgrad bearish pessimis reduc shrink shrank$ contract$ contracts$ contracted$ contraction underperform
                cooled$ cooling$ slump$ lag$ lags$ lagged$ pull$ pullback
                """,
            -1.0: """
                fall$ falls$ falling$ fell$ fallen$ drop declin decreas slid$ slide$ slides$ sliding$ slip$ slips$
                slipped$
                sink$ sinks$ sank$ loses$ lose$ lost$ losing$ tumbl dip$ dips$ dipped$ down$ depreciat selloff erode
                sheds$
                shed$
                """,
            -1.3: "plung crash collaps plummet slumps$ slumped$ nosediv tank$ tanks$ tanked$",
        }
    ),
    subjects=weights(
        {
            1.0: """
                profit earning$ earnings$ sales$ revenue income$ export output$ production$ gdp$ reserve confiden
                rating$
                ratings$ share$ shares$ stock$ stocks$ equit demand$ order$ orders$ investment$ investments$ employment$
                job$ jobs$ payroll capacity$ passenger tourist tourism pmi$ dividend margin ebitda outlook forecast
                guidance target price$ prices$ market$ markets$ sentiment appetite surplus$ economy$ factory industrial
                manufactur retail deposit
                """,
            -1.0: """
                inflation cpi$ ppi$ unemploy jobless loss$ losses$ debt$ debts$ deficit risk$ risks$ cds$ rate$
                rates$ cost$
                costs$ expense$ expenses$ default volatil vix$ tension fear$ fears$ concern worr uncertaint cris
                tariff tax$
                taxes$ yield$ yields$ war$ conflict attack sanction inventor stockpile claims$ premium$ bankrupt
                penalt fine$
                borrowing$ import$ imports$
                """,
        }
    ),
    events=weights(
        {
            0.8: "ceasefire buyback bonus$ dovish truce",
            0.6: """
                deal$ deals$ agreement contract$ contracts$ win$ wins$ won$ order$ orders$ dividend peace approv
                accord
                """,
            0.4: """
                launch award stimulus partner secures$ secure$ expands$ rescue investment$ invest$ invests$
                licence$ license$
                """,
            0.2: "plan$ plans$ opens$ backs$ support",
            -0.3: "risk$ risks$ resign tax$ taxes$ debt$ protest delay$ delays$ delayed$ weather$ cautio",
            -0.5: """
                uncertaint worr concern fear$ fears$ tariff lawsuit sue$ sues$ sued$ arrest detain warn hawkish ban$
                bans$
                banned$ scandal recall halt$ halts$ halted$ suspend outage fire$ fraud layoff layoffs$ strike$ strikes$
                dispute shutdown cancel hike$ hikes$ hiked$ selloff
                """,
            -0.7: """
                war$ attack sanction fine$ fines$ fined$ penalt probe$ probes$ investigat loss$ losses$ earthquake
                quake$
                tension cris panic threat coup$ turmoil recession$ shock$ hack hacked$ escalat missile explosion
                """,
            -1.0: "bankrupt default$ defaults$ defaulted$ insolv stagflation liquidat delist",
        }
    ),
    pairs={
        ("risk", "premium"): ("subject", -1.0),
        ("risk", "appetite"): ("subject", 1.0),
        ("price", "target"): ("subject", 1.0),
        ("target", "price"): ("subject", 1.0),
        ("credit", "rating"): ("subject", 1.0),
        ("share", "buyback"): ("event", 0.7),
        ("rights", "issue"): ("event", -0.6),
        ("bonus", "issue"): ("event", 0.7),
        ("bonus", "share"): ("event", 0.7),
        ("rate", "hike"): ("event", -0.6),
        ("rate", "cut"): ("event", 0.6),
        ("current", "account"): ("none", 0.0),
        ("trade", "war"): ("event", -0.7),
        ("trade", "deal"): ("event", 0.7),
        ("sell", "off"): ("move", -1.0),
        ("record", "low"): ("move", -1.0),
        ("record", "high"): ("move", 1.0),
        ("win", "back"): ("none", 0.0),
        ("no", "change"): ("none", 0.0),
        ("high", "court"): ("none", 0.0),
        ("stock", "split"): ("none", 0.0),
        ("supply", "fear"): ("event", 0.3),
        ("free", "float"): ("none", 0.0),
        ("left", "unchanged"): ("none", 0.0),
        ("bond", "issue"): ("none", 0.0),
        ("raises", "eyebrow"): ("none", 0.0),
    },
    none=frozenset(
        """
        raise$funds stockholm markets$close upcoming update updat upon fined$tuned firmware topic topical tank$er
        lowest$price
        wareh warm warn$ings ranking bank$ banks$ download lifetime beating$heart recordhigh contractor risen$star
        """.split()
    ),
    level=frozenset(),
    attributive=("ing", "er", "ed", "high", "low", "strong", "weak", "record", "robust"),
    negators=frozenset("not no never fails fail failed without halts halt ends end unlikely denies deny n".split()),
    negated_before=True,
    enders=frozenset("fades faded stall stalled ends ended halts halted pauses paused".split()),
    softeners=frozenset("slightly modestly little marginally mildly limited partly".split()),
    strengtheners=frozenset("sharply sharp steeply strongly record biggest most heavy massive deep".split()),
    carriers=frozenset("continues extends extend accelerates deepens".split()),
    asking=frozenset(
        "what how why when which who where whether live preview calendar watch schedule explainer".split()
    ),
    breaks=frozenset("but while although though despite whereas after as amid on".split()),
    asides=frozenset("although though despite after as amid on".split()),
    assets={
        **dict.fromkeys(("dollar", "usd$", "greenback"), "USD"),
        **dict.fromkeys(("euro$", "eur$"), "EUR"),
        **dict.fromkeys(("sterling", "gbp$", "pound$"), "GBP"),
        **dict.fromkeys(("yen$", "jpy$"), "JPY"),
        **dict.fromkeys(("gold$", "bullion", "xau"), "XAU"),
        **dict.fromkeys(("silver$", "xag"), "XAG"),
        **dict.fromkeys(("oil$", "brent", "crude"), "BRENT"),
        **dict.fromkeys(("bitcoin", "btc"), "BTC"),
        **dict.fromkeys(("ethereum", "ether$", "eth$"), "ETH"),
        **dict.fromkeys(("ripple", "xrp"), "XRP"),
        **dict.fromkeys(("bist$", "bist100", "xu100"), "BIST100"),
        **dict.fromkeys(("lira",), "TRY"),
        **dict.fromkeys(("copper$",), "COPPER"),
        **dict.fromkeys(("nasdaq",), "NDX"),
        **dict.fromkeys(("dax$",), "DAX"),
        **dict.fromkeys(("nikkei",), "NKY"),
    },
)
