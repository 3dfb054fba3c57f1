"""What words of financial Turkish and English say about direction: a lexicon of the project's own.

Keys are beginnings of folded words (`casing.fold`), since Turkish carries its grammar at the end of a word; a key that
ends in `$` is a whole word. Three things are told apart, because a direction means nothing without its subject:

- *moves* say up or down (`yükseldi`, `geriledi`, `en düşük`);
- *subjects* say whether up is good for them (`kâr`, `ihracat`) or bad (`enflasyon`, `işsizlik`);
- *events* are good or bad by themselves (`ihale`, `iflas`), and may be the subject of a move (`gerilim azaldı`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


def weights(table: Mapping[float, str]) -> dict[str, float]:
    """Return the weight of each key of a table that lists keys by weight."""
    return {key: weight for weight, keys in table.items() for key in keys.split()}


@dataclass(frozen=True)
class Lexicon:
    """The tables of one language.

    Attributes
    ----------
    moves, events
        Weight by key; above 0 is up or good.
    subjects
        1 where up is good, -1 where up is bad.
    pairs
        What two words in a row are: `(kind, weight)` by keys of both; kind is `move`, `event`, `subject`, `end` or
        `none`.
    none
        Keys that look like others and say nothing.
    level
        Moves that are moves only where a number or a level stands before them (`5.000'e çıktı`).
    attributive
        Endings of moves that speak of the noun behind them (`artan maliyetler`).
    negators, enders, softeners, strengtheners, carriers
        Words that turn a move round, that end it, weaken or strengthen it, or let it go on.
    asking
        Words of questions and service notes (`ne zaman`, `nedir`), which lead nowhere by themselves.
    breaks
        Words that begin another clause.
    asides
        Those of them that begin a cause or a circumstance, which counts for less than what it stands beside.
    assets
        What has a price, by how it is called.
    negated_before
        Whether negators stand before what they turn (`did not rise`), not behind it.
    """

    moves: Mapping[str, float]
    events: Mapping[str, float]
    subjects: Mapping[str, float]
    pairs: Mapping[tuple[str, str], tuple[str, float]]
    none: frozenset[str]
    level: frozenset[str]
    attributive: tuple[str, ...]
    negators: frozenset[str]
    enders: frozenset[str]
    softeners: frozenset[str]
    strengtheners: frozenset[str]
    carriers: frozenset[str]
    asking: frozenset[str]
    breaks: frozenset[str]
    assets: Mapping[str, str] = field(default_factory=dict)
    negated_before: bool = False
    asides: frozenset[str] = frozenset()

    @cached_property
    def firsts(self) -> frozenset[str]:
        """First keys of the pairs."""
        return frozenset(first for first, _ in self.pairs)

    @cached_property
    def longest(self) -> int:
        """Letters of the longest key."""
        tables = (self.moves, self.events, self.subjects, self.none, self.assets)
        return max(len(key) for table in tables for key in table)


TURKISH = Lexicon(
    moves=weights(
        {
            1.3: "firla ralli sicra tavan$ tavana katlad katlan",
            1.0: """
                yuksel tirman artt artis artir artiy artac artar$ artark artm artan$ arts artmas arta$ artarak guclen
                toparla canlan iyiles pozitif iyimser alicili primli primlen kazandird yukari yukseltt
                """,
            0.8: """
                buyudu buyume buyuyo buyuyec buyur buyut buyus hizlan rekor olumlu yukselis rahatla kazand uctu
                ucus$
                """,
            0.6: """
                yuksek yukse guclu iyi$ iyiydi zirveye zirvede$ zirveyi zirvesine zirvesini zirvedeki artida$ yesil
                ustunde$ uzerinde$ uzerine$ astı asti$ asan$ asiyor asacak asarak alici$ alimlar$ ulast ulasti cikt
                cikiyor cikacak ciktı cikmas cikar$ cikarken cikart yenile saglam direncl destekled fazlas one$
                """,
            -0.6: """
                zayif yavasla dip$ dibi dipte dibe dibine dibini kotu altinda$ altina$ baskila baskila eksi$ ekside$
                kirmizi indi$ iniyo inece inis$ inisi$ inmes iner$ inerken sogu kesild kesinti dusuk yitir
                """,
            -0.8: """
                azal daral geriled gerile eksil indir geriy satici bozul kotules olumsuz negatif sarkt sarka
                kaybett
                """,
            -1.0: """
                dust dusus dusuy dusur dusec dusen$ dusm dusmus dustu duser kaybet kaybed kayb kayip eridi eriyo erime
                zayifla tuken kirpt taban$ tabana kotumser
                """,
            -1.3: "cakil cokt cokus cokec coker yikil darmadagin sars dibe$ eridi$",
        }
    ),
    subjects=weights(
        {
            1.0: """
                kar$ kari$ karin$ karini$ karinda karlari karlilig karlil satis ciro gelir$ geliri gelirl hasilat
                ihracat
                ihrac uretim gsyh gsyih rezerv guven$ guveni not$ notu notun hisse pay$ paylar payi borsa endeks talep
                siparis yatirim istihdam verim kapasite yolcu turist turizm pmi temettu marj favok favok aktivite lira$
                lirasi tl$ kredi pazar likidite mevduat piyasa deger degeri fiyat istah performans tahmin beklenti
                gorunum tasarruf destek sanayi imalat ticaret siparis bilanco ozkaynak sermaye
                """,
            -1.0: """
                enflas tufe$ ufe$ tufenin ufenin issiz zarar borc acig acik$ aciginda risk riskl cds faiz maliyet gider
                temerrut volatil oynak vix gerilim gergin endise kaygi korku belirsiz kriz tarife gumruk vergi batik
                stok
                zam$ zamlar zamm baski tansiyon savas catisma saldiri salgin vaka yoksul ceza ithalat aclik kira kaygi
                iflas konkordato yaptirim tehdit getiri enflasyonist karsilik
                """,
        }
    ),
    events=weights(
        {
            0.8: "bedelsiz ateskes uzlast uzlas guvercin",
            0.6: """
                anlasma sozlesme siparis temettu baris ihaley mutabak mujde onayla onay$ onayi kazanc guvercin tesvik
                normalles yapilandirma$
                """,
            0.4: """
                yatirim isbirlig ihale basari hibe lisans ruhsat teslim kapasite ihracat odul buyuk$ kolaylik
                tasarruf
                """,
            0.2: "hamle destek yeni$ hedefl katki lider kurul acildi devrey",
            -0.3: "risk tedbir istifa protesto faiz zorunlu vergi zam$ borc aclik elestir eylem maliyet",
            -0.5: """
                belirsiz endise kaygi korku tarife iptal dava gozalti tutukla uyar kesinti sahin yasak balon skandal
                kayyum kayyim gergin baski yalan yangin dolandir fesih feshe feshed durdur askiya kisitla
                """,
            -0.7: """
                savas saldir yaptirim ceza sorustur zarar grev$ greve$ grevi deprem gerilim kriz panik tehdit felaket
                darbe kaos abluka bedelli manipul sok$ soku durgun issiz tehlike haciz patlak
                """,
            -1.0: "iflas konkordato temerrut resesyon stagflasyon batti batiy",
        }
    ),
    pairs={
        ("deger", "kazan"): ("move", 1.0),
        ("deger", "kayb"): ("move", -1.0),
        ("deger", "yitir"): ("move", -1.0),
        ("prim", "yap"): ("move", 1.0),
        ("geri", "cekil"): ("move", -0.9),
        ("geri", "alim"): ("event", 0.7),
        ("geri", "cagir"): ("event", -0.5),
        ("geride", "birak"): ("move", 0.6),
        ("satis", "baski"): ("move", -1.0),
        ("sert", "satis"): ("move", -1.0),
        ("satis", "dalga"): ("move", -1.0),
        ("kar", "satis"): ("move", -0.7),
        ("kar", "realiz"): ("move", -0.7),
        ("kar", "yag"): ("none", 0.0),
        ("risk", "istah"): ("subject", 1.0),
        ("risk", "prim"): ("subject", -1.0),
        ("faiz", "gelir"): ("subject", 1.0),
        ("hedef", "fiyat"): ("subject", 1.0),
        ("kredi", "not"): ("subject", 1.0),
        ("cari", "fazla"): ("event", 0.6),
        ("rekabet", "kurul"): ("event", -0.3),
        ("al", "tavsiye"): ("event", 0.7),
        ("sat", "tavsiye"): ("event", -0.7),
        ("endeks", "uzeri"): ("event", 0.6),
        ("endeksin", "uzerinde"): ("event", 0.5),
        ("halka", "arz"): ("none", 0.0),
        ("satin", "al"): ("event", 0.3),
        ("isten", "cikar"): ("event", -0.5),
        ("sona", "er"): ("end", 0.0),
        ("dusuk", "faiz"): ("event", 0.4),
        ("is", "birlig"): ("event", 0.4),
        ("tam", "gaz"): ("none", 0.0),
        ("yuksek", "lisans"): ("none", 0.0),
        ("bir", "artan"): ("none", 0.0),
        ("genel", "kurul"): ("none", 0.0),
        ("yeni", "zelanda"): ("none", 0.0),
        ("istah", "art"): ("move", 1.0),
        ("ivme", "kazan"): ("move", 0.8),
        ("ivme", "kaybe"): ("move", -0.8),
        ("yuksek", "seyir"): ("move", 0.5),
        ("is", "kayb"): ("event", -0.5),
        ("not", "indir"): ("event", -0.8),
        ("not", "artir"): ("event", 0.8),
        ("yuz", "guldur"): ("event", 0.7),
        ("hayal", "kirik"): ("event", -0.7),
        ("ceza", "kes"): ("event", -0.7),
    },
    none=frozenset(
        """
        dusun dusunc dusund buyuk buyukel buyuru artik$ artikla cok$ karar karsi karar$ kart$ karti kartlar karma karsil
        karne indirgen riskli$ baskan baskent baski$yap faizsiz satisa$ hedefleri$ yukseko yukselen$piyasa savasci
        guvenlik notla notlar notlari notlarin noter notere cezai ceza$kurul destekle$ yeniden yenilik yenilen
        yenilenebilir
        kazanan$ barisc acikla acikland aciklam acikca zararsiz vergisiz kriziyle$ dibek payit sokak soke darbog
        tahminle$
        deger$lendir degerlendir fiyat$lama kararlilik karasal piyasaya$ borsaya$kote zamani zaman stokta uyarin
        uyarla uyariy
        yatirimci gelirken$ gelir$ken
        """.split()
    ),
    level=frozenset(
        """
        cikt cikiyor cikacak ciktı cikmas cikar$ cikart indi$ iniyo inece inmes iner$ ulast ulasti
        """.split()
    ),
    attributive=("en", "an", "yen", "yan", "uk", "ek", "lu", "suz", "miş", "mis", "mus"),
    negators=frozenset(
        """
        degil degildi yok yoktu olmadi olmayacak olmaz beklenmiyor ongorulmuyor gorulmedi yasanmadi etmedi etmiyor
        etmeyecek almadi almayacak yapmadi vermedi
        """.split()
    ),
    enders=frozenset("durdu durdur bitti kirildi hafifle yumusa dindi yatist duruldu frenle sonland".split()),
    softeners=frozenset("sinirli sinirlandi hafif kismi ilimli kisitli gecici az biraz".split()),
    strengtheners=frozenset("sert cok guclu hizli rekor keskin buyuk tarihi sicrama agir ciddi asiri son".split()),
    carriers=frozenset("hizlan derinles genisle surdur devam suru suruyor yenile guclen".split()),
    asking=frozenset(
        """
        mi mu midir mudur nedir nasil hangi kac kim neden niye niçin neler nelerdir kacta nereden saat canli tarih
        takvim
        oldumu dustumu yukselecekmi bekleniyor gozler
        """.split()
    ),
    breaks=frozenset("ama fakat ancak lakin oysa ise iken karsin ragmen karsilik buna".split()),
    assets={
        **dict.fromkeys(("dolar", "usd$", "usdtry", "dolari"), "USD"),
        **dict.fromkeys(("euro", "eur$", "avro", "eurtry"), "EUR"),
        **dict.fromkeys(("sterlin", "gbp$"), "GBP"),
        **dict.fromkeys(("yen$", "yeni$n", "jpy$"), "JPY"),
        **dict.fromkeys(("altin", "ons$", "xau"), "XAU"),
        **dict.fromkeys(("gumus", "xag"), "XAG"),
        **dict.fromkeys(("petrol", "brent"), "BRENT"),
        **dict.fromkeys(("bitcoin", "btc"), "BTC"),
        **dict.fromkeys(("ethereum", "eth$", "ether$"), "ETH"),
        **dict.fromkeys(("ripple", "xrp"), "XRP"),
        **dict.fromkeys(("bist$", "bist100", "xu100", "borsa", "endeks"), "BIST100"),
        **dict.fromkeys(("bakir$", "bakirda"), "COPPER"),
        **dict.fromkeys(("dogalgaz", "dogal$gaz"), "NATGAS"),
        **dict.fromkeys(("nasdaq", "ndx"), "NDX"),
        **dict.fromkeys(("dax$",), "DAX"),
        **dict.fromkeys(("nikkei", "nikkey"), "NKY"),
        **dict.fromkeys(("tl$", "lira"), "TRY"),
    },
)
