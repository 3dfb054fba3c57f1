"""What is traded besides shares of Borsa Istanbul: indices, currencies, commodities, coins; symbol, then names."""

from __future__ import annotations

INDICES = """
BIST100=BIST 100,XU100,BIST,Borsa İstanbul,BIST 100 endeksi,İMKB 100,BİST,Borsa; BIST30=BIST 30,XU030
BIST50=BIST 50,XU050; XBANK=BIST Banka,banka endeksi,Bankacılık endeksi; XUSIN=BIST Sınai,sınai endeksi
XHOLD=BIST Holding; XUTUM=BIST Tüm; XUHIZ=BIST Hizmetler; XUTEK=BIST Teknoloji; XULAS=BIST Ulaştırma; XGIDA=BIST Gıda
XMANA=BIST Metal Ana; XELKT=BIST Elektrik; XGMYO=BIST GYO; XKTUM=BIST Katılım Tüm; XK100=BIST Katılım 100
XTM25=BIST Temettü 25; XSGRT=BIST Sigorta; XILTM=BIST İletişim; XINSA=BIST İnşaat; XKMYA=BIST Kimya Petrol Plastik
SPX=S&P 500,SP500,S&P500; NDX=Nasdaq,Nasdaq 100,Nasdaq Bileşik; DJI=Dow Jones,Dow; DAX=DAX 40,DAX; FTSE=FTSE 100,FTSE
CAC=CAC 40; NKY=Nikkei,Nikkei 225; HSI=Hang Seng; STOXX50=Euro Stoxx 50,Stoxx 50; STOXX600=Stoxx 600,Stoxx Europe 600
SHCOMP=Şanghay Bileşik; KOSPI=Kospi; VIX=VIX; DXY=Dolar Endeksi,DXY; RUT=Russell 2000; IBEX=IBEX 35; MIB=FTSE MIB
BVSP=Bovespa; NIFTY=Nifty 50; SENSEX=Sensex
"""

CURRENCIES = """
USD=dolar,ABD doları,Amerikan doları,dolar/TL,USD/TRY,USDTRY; EUR=euro,avro,euro/TL,EUR/TRY,EURTRY
GBP=sterlin,İngiliz sterlini,GBP/TRY; TRY=Türk lirası,lira,TL; JPY=yen,Japon yeni; CHF=İsviçre frangı,frank
CNY=yuan,Çin yuanı; RUB=ruble,Rus rublesi; AUD=Avustralya doları; CAD=Kanada doları; SAR=Suudi riyali,riyal
AED=BAE dirhemi,dirhem; AZN=manat,Azerbaycan manatı; SEK=İsveç kronu; NOK=Norveç kronu; DKK=Danimarka kronu
KWD=Kuveyt dinarı; INR=rupi,Hindistan rupisi; KRW=won,Güney Kore wonu; ILS=şekel; PLN=zloti
EURUSD=EUR/USD,euro/dolar,euro dolar paritesi
"""

COMMODITIES = """
XAU=altın,ons altın,gram altın,altının onsu,gold,çeyrek altın,XAU/USD,XAUUSD; XAG=gümüş,gram gümüş,ons gümüş,silver
BRENT=Brent,Brent petrol,ham petrol,petrol; WTI=WTI,Batı Teksas,Teksas petrolü; XPT=platin; XPD=paladyum
NATGAS=doğal gaz,doğalgaz; COPPER=bakır; ALUMINUM=alüminyum; NICKEL=nikel; ZINC=çinko; WHEAT=buğday; CORN=mısır
SOYBEAN=soya,soya fasulyesi; COTTON=pamuk; SUGAR=şeker; COFFEE=kahve; COCOA=kakao; IRON=demir cevheri; STEEL=çelik
COAL=kömür; URANIUM=uranyum; LITHIUM=lityum
"""

COINS = """
BTC=Bitcoin,bitkoin,bitcoyn,BTC/USDT,BTCUSDT,XBT; ETH=Ethereum,eteryum,eterium,ether,ETHUSDT; XRP=Ripple,XRP,ripıl
SOL=Solana,SOLUSDT; BNB=Binance Coin,BNB,BNBUSDT; DOGE=Dogecoin,doge koin,dogekoin; ADA=Cardano,kardano
AVAX=Avalanche,avalanş; DOT=Polkadot; LINK=Chainlink,çeynlink; TRX=Tron,TRON; MATIC=Polygon,POL,MATIC
SHIB=Shiba Inu,şiba,shiba,şiba inu; LTC=Litecoin,laytkoin; BCH=Bitcoin Cash,bitcoin nakit; ETC=Ethereum Classic
XLM=Stellar,Stellar Lumens; XMR=Monero; ATOM=Cosmos; NEAR=NEAR Protocol; APT=Aptos; ARB=Arbitrum; OP=Optimism; SUI=Sui
INJ=Injective; UNI=Uniswap; AAVE=Aave; MKR=Maker,MakerDAO; FIL=Filecoin; ICP=Internet Computer
HBAR=Hedera,Hedera Hashgraph; VET=VeChain; ALGO=Algorand; XTZ=Tezos; EOS=EOS; SAND=The Sandbox,Sandbox
MANA=Decentraland; AXS=Axie Infinity; GALA=Gala Games; ENJ=Enjin; CHZ=Chiliz,çiliz; GRT=The Graph; FTM=Fantom
RUNE=THORChain; STX=Stacks; SEI=Sei; TIA=Celestia; PEPE=Pepe coin,Pepe; BONK=Bonk; WIF=dogwifhat
FLOKI=Floki,Floki Inu; TON=Toncoin; USDT=Tether,teter; USDC=USD Coin; DAI=Dai; CRV=Curve; SNX=Synthetix; COMP=Compound
LDO=Lido DAO; RNDR=Render; FET=Fetch.ai; IMX=Immutable X; DYDX=dYdX; ZEC=Zcash; DASH=Dash coin; NEO=NEO; IOTA=IOTA
QNT=Quant; EGLD=MultiversX; THETA=Theta; KAS=Kaspa; CRO=Cronos; WLD=Worldcoin; JUP=Jupiter; ONDO=Ondo; ENA=Ethena
PYTH=Pyth Network; HYPE=Hyperliquid; TAO=Bittensor; TRUMP=Trump coin; BTTC=BitTorrent; HOT=Holo; ZIL=Zilliqa
BAT=Basic Attention Token
"""

FUNDS = """
GLDTR=Altın BYF; GMSTR=Gümüş BYF; ZGOLD=Ziraat Altın BYF; ZPX30=Ziraat BIST 30 BYF
ZRE20=Ziraat Katılım BYF; ZPT10=Ziraat Temettü BYF; OPT25=Temettü 25 BYF; APX30=Ak BIST 30 BYF
APBDL=Ak Tahvil BYF; USDTR=Dolar BYF; ISGLK=İş Altın BYF; QTEMZ=Temiz Enerji BYF
"""

FOREIGN = """
AAPL=Apple; MSFT=Microsoft; GOOGL=Google,Alphabet; AMZN=Amazon; META=Meta Platforms,Facebook; TSLA=Tesla; NVDA=Nvidia
NFLX=Netflix; INTC=Intel; AMD=Advanced Micro Devices,AMD; ORCL=Oracle; TSM=TSMC; ASML=ASML; BA=Boeing; AIR=Airbus
VOW=Volkswagen; TM=Toyota; GM=General Motors; XOM=ExxonMobil,Exxon Mobil,Exxon; CVX=Chevron; SHEL=Shell; BX=Blackstone
PFE=Pfizer; MRNA=Moderna; BNTX=BioNTech; GSK=GSK,GlaxoSmithKline; VOD=Vodafone; EBAY=eBay; GME=GameStop; RDDT=Reddit
BABA=Alibaba; TCEHY=Tencent; COIN=Coinbase; MSTR=MicroStrategy; NKE=Nike; SBUX=Starbucks; WMT=Walmart; UBER=Uber
SSNLF=Samsung Electronics,Samsung; SONY=Sony; ARM=Arm Holdings; PLTR=Palantir; SPOT=Spotify; GAZP=Gazprom
"""
"""Companies abroad that Turkish headlines name; banks are left out: they are named for what they say of others."""
