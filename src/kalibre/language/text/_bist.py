"""Shares of Borsa Istanbul: ticker, then names and how people call the company, the usual one first.

Written from general knowledge in 2026, no list was copied; a company may have changed its name or left the exchange.
"""

from __future__ import annotations

SHARES = """
A1CAP=A1 Capital,A1 Capital Yatırım; ACSEL=Acıselsan,Acıpayam Selüloz; ADEL=Adel Kalemcilik; ADESE=Adese,Adese AVM
ADGYO=Adra GYO; AEFES=Anadolu Efes,Efes Bira,Efes; AFYON=Afyon Çimento
AGESA=AgeSA,Agesa Hayat,AgeSA Hayat ve Emeklilik
AGHOL=AG Anadolu Grubu,Anadolu Grubu,AG Anadolu Grubu Holding,Anadolu Grubu Holding; AGROT=Agrotech,Agrotech Teknoloji
AGYO=Atakule GYO; AHGAZ=Ahlatcı Doğalgaz,Ahlatcı Doğal Gaz; AHSGY=Ahes GYO; AKBNK=Akbank
AKCNS=Akçansa,Akçansa Çimento; AKENR=Akenerji,Ak Enerji,Akenerji Elektrik; AKFGY=Akfen GYO; AKFIS=Akfen İnşaat
AKFYE=Akfen Yenilenebilir Enerji,Akfen Enerji; AKGRT=Aksigorta; AKMGY=Akmerkez GYO; AKSA=Aksa Akrilik,Aksa
AKSEN=Aksa Enerji; AKSGY=Akiş GYO; AKSUE=Aksu Enerji; AKYHO=Akdeniz Yatırım Holding; ALARK=Alarko Holding,Alarko
ALBRK=Albaraka Türk,Albaraka,Albaraka Türk Katılım Bankası; ALCAR=Alarko Carrier; ALCTL=Alcatel Lucent Teletaş
ALFAS=Alfa Solar,Alfa Solar Enerji; ALGYO=Alarko GYO; ALKA=Alkim Kağıt; ALKIM=Alkim Kimya,Alkim Alkali
ALKLC=Altınkılıç Gıda; ALTNY=Altınay Savunma,Altınay; ALVES=Alves Kablo; ANELE=Anel Elektrik
ANGEN=Anatolia Geneworks,Anatolia Tanı; ANHYT=Anadolu Hayat Emeklilik,Anadolu Hayat; ANSGR=Anadolu Sigorta
ARASE=Doğu Aras Enerji,Aras Enerji; ARCLK=Arçelik,Beko; ARDYZ=ARD Bilişim,ARD Grup Bilişim; ARENA=Arena Bilgisayar
ARSAN=Arsan Tekstil; ARTMS=Artemis Halı; ARZUM=Arzum,Arzum Ev Aletleri; ASELS=Aselsan; ASGYO=Asce GYO
ASTOR=Astor Enerji,Astor; ASUZU=Anadolu Isuzu; ATAKP=Atakey Patates; ATATP=ATP Yazılım,Ata Teknoloji
AVGYO=Avrasya GYO; AVHOL=Avrupa Yatırım Holding; AVOD=AVOD Kurutulmuş Gıda; AVPGY=Avrupakent GYO
AYCES=Altın Yunus Çeşme; AYDEM=Aydem Enerji; AYEN=Ayen Enerji; AYES=Ayes Çelik; AYGAZ=Aygaz; AZTEK=Aztek Teknoloji
BAGFS=Bagfaş; BAHKM=Bahadır Kimya; BAKAB=Bak Ambalaj; BALSU=Balsu Gıda; BANVT=Banvit; BARMA=Barem Ambalaj
BASCM=Baştaş Başkent Çimento,Baştaş Çimento; BASGZ=Başkent Doğalgaz; BAYRK=Bayrak Ebt Taban; BEGYO=Batı Ege GYO
BERA=Bera Holding; BEYAZ=Beyaz Filo; BFREN=Bosch Fren; BIENY=Bien Yapı,Bien Seramik; BIGCH=BigChefs,Büyük Şefler
BIMAS=BİM,BİM Mağazalar,BİM Birleşik Mağazalar; BINBN=Bin Ulaşım; BINHO=1000 Yatırımlar Holding,1000 Yatırımlar
BIOEN=Biotrend Enerji,Biotrend; BIZIM=Bizim Toptan; BJKAS=Beşiktaş,Beşiktaş Futbol Yatırımları; BLCYT=Bilici Yatırım
BMSTL=BMS Birleşik Metal; BMSCH=BMS Çelik Hasır; BNTAS=Bantaş; BOBET=Boğaziçi Beton; BORLS=Borlease,Borlease Otomotiv
BORSK=Bor Şeker; BOSSA=Bossa; BRISA=Brisa; BRKO=Birko Mensucat; BRKSN=Berkosan; BRLSM=Birleşim Mühendislik
BRSAN=Borusan Boru,Borusan Mannesmann; BRYAT=Borusan Yatırım,Borusan Holding; BSOKE=Batısöke Çimento
BTCIM=Batıçim,Batıçim Batı Anadolu Çimento; BUCIM=Bursa Çimento; BULGS=Bulls GSYO; BURCE=Burçelik; BURVA=Burçelik Vana
BVSAN=Bülbüloğlu Vinç; BYDNR=Baydöner,Baydöner Restoranları; CANTE=Çan2 Termik; CASA=Casa Emtia
CATES=Çates Elektrik,Çates; CCOLA=Coca-Cola İçecek,Coca Cola İçecek,CCİ; CELHA=Çelik Halat; CEMAS=Çemaş Döküm
CEMTS=Çemtaş,Çemtaş Çelik; CEMZY=Cem Zeytin; CEOEM=CEO Event Medya; CGCAM=Çağdaş Cam; CIMSA=Çimsa,Çimsa Çimento
CLEBI=Çelebi Hava Servisi,Çelebi; CMBTN=Çimbeton; CONSE=Consus Enerji; COSMO=Cosmos Yatırım Holding
CRDFA=Creditwest Faktoring; CRFSA=CarrefourSA,Carrefoursa; CUSAN=Çuhadaroğlu Metal; CVKMD=CVK Maden,CVK Madencilik
CWENE=CW Enerji; DAGI=Dagi Giyim; DAPGM=DAP Gayrimenkul,DAP Yapı; DARDL=Dardanel; DCTTR=DCT Trading
DENGE=Denge Yatırım Holding; DERHL=Derlüks Yatırım Holding; DERIM=Derimod; DESA=Desa Deri; DESPC=Despec Bilgisayar
DEVA=Deva Holding,Deva İlaç; DGATE=Datagate,Datagate Bilgisayar; DGGYO=Doğuş GYO; DGNMO=Doğanlar Mobilya
DITAS=Ditaş Doğan; DMRGD=DMR Unlu Mamuller; DMSAS=Demisaş Döküm; DNISI=Dinamik Isı; DOAS=Doğuş Otomotiv
DOCO=DO & CO,Do&Co; DOFER=Dofer Yapı; DOGUB=Doğusan Boru; DOHOL=Doğan Holding,Doğan Şirketler Grubu
DOKTA=Döktaş Dökümcülük,Döktaş; DSTKF=Destek Finans Faktoring; DURDO=Duran Doğan Basım; DURKN=Durukan Şekerleme
DYOBY=DYO Boya; DZGYO=Deniz GYO; EBEBK=Ebebek; ECILC=Eczacıbaşı İlaç,EİS Eczacıbaşı; ECZYT=Eczacıbaşı Yatırım
EDATA=E-Data Teknoloji; EDIP=Edip Gayrimenkul; EFORC=Efor Çay,Efor Yatırım; EGEEN=Ege Endüstri
EGEGY=Egeyapı Avrupa GYO; EGEPO=Nasmed Ege Sağlık; EGGUB=Ege Gübre; EGPRO=Ege Profil; EGSER=Ege Seramik
EKGYO=Emlak Konut,Emlak Konut GYO; EKOS=Ekos Teknoloji; EKSUN=Eksun Gıda; ELITE=Elite Naturel; EMKEL=Emek Elektrik
ENERY=Enerya Enerji; ENJSA=Enerjisa,Enerjisa Enerji; ENKAI=Enka İnşaat,Enka; ENSRI=Ensari Deri
ENTRA=IC Enterra,IC Enterra Yenilenebilir Enerji; EPLAS=Egeplast; ERBOS=Erbosan; ERCB=Erciyas Çelik Boru
EREGL=Ereğli Demir Çelik,Erdemir,Ereğli Demir ve Çelik; ERSU=Ersu Meyve; ESCAR=Escar Turizm; ESCOM=Escort Teknoloji
ESEN=Esenboğa Elektrik; ETILR=Etiler Gıda; EUHOL=Euro Yatırım Holding; EUPWR=Europower,Europower Enerji
EUREN=Europen Endüstri,Europen; EYGYO=EYG GYO; FADE=Fade Gıda; FENER=Fenerbahçe,Fenerbahçe Futbol; FLAP=Flap Kongre
FMIZP=Federal-Mogul İzmit Piston; FONET=Fonet Bilgi; FORMT=Formet Metal; FORTE=Forte Bilgi İletişim
FRIGO=Frigo-Pak Gıda; FROTO=Ford Otosan,Ford Otomotiv; FZLGY=Fuzul GYO
GARAN=Garanti BBVA,Garanti Bankası,Garanti,Türkiye Garanti Bankası; GARFA=Garanti Faktoring; GEDIK=Gedik Yatırım
GEDZA=Gediz Ambalaj; GENIL=Gen İlaç; GENTS=Gentaş; GEREL=Gersan Elektrik; GESAN=Girişim Elektrik; GLCVY=Gelecek Varlık
GLRYH=Güler Yatırım Holding; GLYHO=Global Yatırım Holding; GMTAS=Gimat Mağazacılık; GOKNR=Göknur Gıda
GOLTS=Göltaş Çimento,Göltaş; GOODY=Goodyear,Goodyear Lastikleri; GOZDE=Gözde Girişim
GRSEL=Gür-Sel Turizm,Gürsel Turizm; GRTHO=Grainturk Holding; GSDDE=GSD Denizcilik; GSDHO=GSD Holding
GSRAY=Galatasaray,Galatasaray Sportif; GUBRF=Gübre Fabrikaları,Gübretaş; GUNDG=Gündoğdu Gıda
GWIND=Galata Wind,Galata Wind Enerji; GZNMI=Gezinomi,Gezinomi Seyahat
HALKB=Halkbank,Halk Bankası,Türkiye Halk Bankası; HATEK=Hateks; HATSN=Hat-San Gemi; HDFGS=Hedef Girişim
HEDEF=Hedef Holding; HEKTS=Hektaş; HKTM=Hidropar Hareket Kontrol; HLGYO=Halk GYO; HRKET=Hareket Proje
HTTBT=Hitit Bilgisayar,Hitit; HUBVC=Hub Girişim; HUNER=Hun Yenilenebilir Enerji; HURGZ=Hürriyet Gazetecilik
ICBCT=ICBC Turkey Bank; ICUGS=ICU Girişim; IEYHO=Işıklar Enerji ve Yapı Holding; IHAAS=İhlas Haber Ajansı
IHEVA=İhlas Ev Aletleri; IHGZT=İhlas Gazetecilik; IHLAS=İhlas Holding; IHLGM=İhlas Gayrimenkul
IHYAY=İhlas Yayın Holding; IMASM=İmaş Makina; INDES=İndeks Bilgisayar; INFO=İnfo Yatırım; INGRM=Ingram Micro
INTEM=İntema; INVEO=Inveo Yatırım Holding; INVES=Investco Holding; IPEKE=İpek Doğal Enerji; ISATR=İş Bankası A
ISBIR=İşbir Holding; ISCTR=İş Bankası,Türkiye İş Bankası,İşbank,İş Bankası C; ISDMR=İskenderun Demir Çelik,İsdemir
ISFIN=İş Finansal Kiralama,İş Leasing; ISGSY=İş Girişim Sermayesi; ISGYO=İş GYO
ISMEN=İş Yatırım,İş Yatırım Menkul Değerler; ISSEN=İşbir Sentetik; IZENR=İzdemir Enerji; IZFAS=İzmir Fırça
IZMDC=İzmir Demir Çelik; JANTS=Jantsa; KAPLM=Kaplamin; KAREL=Karel Elektronik,Karel; KARSN=Karsan,Karsan Otomotiv
KARTN=Kartonsan; KATMR=Katmerciler; KAYSE=Kayseri Şeker,Kayseri Şeker Fabrikası; KBORU=Kuzey Boru
KCAER=Kocaer Çelik,Kocaer; KCHOL=Koç Holding,Koç Grubu,Koç; KENT=Kent Gıda; KERVN=Kervansaray Yatırım; KERVT=Kerevitaş
KFEIN=Kafein Yazılım; KGYO=Koray GYO; KIMMR=Kim Market,Ersan Alışveriş; KLGYO=Kiler GYO; KLKIM=Kalekim; KLMSN=Klimasan
KLNMA=Türkiye Kalkınma ve Yatırım Bankası,Kalkınma Bankası; KLRHO=Kiler Holding; KLSER=Kaleseramik,Kale Seramik
KLSYN=Koleksiyon Mobilya; KLYPV=Kalyon PV,Kalyon Güneş; KMPUR=Kimteks Poliüretan,Kimteks; KNFRT=Konfrut Gıda
KOCMT=Koç Metalurji; KONKA=Konya Kağıt; KONTR=Kontrolmatik,Kontrolmatik Teknoloji; KONYA=Konya Çimento
KOPOL=Koza Polyester; KORDS=Kordsa,Kordsa Teknik Tekstil; KOTON=Koton,Koton Mağazacılık
KOZAA=Koza Anadolu Metal,Koza Madencilik; KOZAL=Koza Altın; KRDMA=Kardemir A; KRDMB=Kardemir B
KRDMD=Kardemir,Kardemir D,Karabük Demir Çelik; KRGYO=Körfez GYO; KRONT=Kron Teknoloji; KRPLS=Koroplast
KRSTL=Kristal Kola; KRTEK=Karsu Tekstil; KRVGD=Kervan Gıda; KTLEV=Katılımevim; KTSKR=Kütahya Şeker
KUTPO=Kütahya Porselen; KUYAS=Kuyaş Yatırım; KZBGY=Kızılbük GYO; KZGYO=Kuzugrup GYO; LIDER=LDR Turizm,Lider Filo
LIDFA=Lider Faktoring; LILAK=Lila Kağıt; LINK=Link Bilgisayar; LKMNH=Lokman Hekim
LMKDC=Limak Doğu Anadolu Çimento,Limak Çimento; LOGO=Logo Yazılım; LUKSK=Lüks Kadife; LYDHO=Lydia Holding
MAALT=Marmaris Altınyunus; MACKO=Mackolik; MAGEN=Margün Enerji; MAKIM=Makim Makina; MAKTK=Makina Takım
MARBL=Tureks Turunç Madencilik; MARTI=Martı Otel; MAVI=Mavi Giyim; MEDTR=Meditera Tıbbi; MEGAP=Mega Polietilen
MEGMT=Mega Metal; MEKAG=Meka Beton; MERCN=Mercan Kimya; MERIT=Merit Turizm; MERKO=Merko Gıda; METRO=Metro Holding
MGROS=Migros,Migros Ticaret; MHRGY=MHR GYO; MIATK=Mia Teknoloji; MNDRS=Menderes Tekstil; MNDTR=Mondi Turkey
MOBTL=Mobiltel; MOGAN=Mogan Enerji; MOPAS=Mopaş Marketçilik; MPARK=MLP Sağlık,Medical Park; MRGYO=Martı GYO
MRSHL=Marshall Boya; MSGYO=Mistral GYO; MTRKS=Matriks,Matriks Bilgi Dağıtım
NATEN=Naturel Enerji,Naturel Yenilenebilir Enerji; NETAS=Netaş,Netaş Telekomünikasyon; NIBAS=Niğbaş; NTGAZ=Naturelgaz
NTHOL=Net Holding; NUGYO=Nurol GYO; NUHCM=Nuh Çimento; OBAMS=Oba Makarna; OBASE=Obase Bilgisayar
ODAS=Odaş,Odaş Elektrik; ODINE=Odine Teknoloji; OFSYM=Ofis Yem Gıda; ONCSM=Oncosem; ONRYT=Onur Yüksek Teknoloji
ORGE=Orge Enerji; OSMEN=Osmanlı Yatırım; OTKAR=Otokar; OTTO=Otto Holding; OYAKC=Oyak Çimento
OYAYO=Oyak Yatırım Ortaklığı; OYYAT=Oyak Yatırım; OZATD=Özata Denizcilik; OZGYO=Özderici GYO; OZKGY=Özak GYO
OZSUB=Özsu Balık; PAGYO=Panora GYO; PAMEL=Pamel Yenilenebilir; PAPIL=Papilon Savunma; PARSN=Parsan
PASEU=Pasifik Eurasia; PATEK=Pasifik Teknoloji; PCILT=PC İletişim; PEKGY=Peker GYO; PENGD=Penguen Gıda
PENTA=Penta Teknoloji; PETKM=Petkim; PETUN=Pınar Et; PGSUS=Pegasus,Pegasus Hava Yolları,Pegasus Hava Taşımacılığı
PINSU=Pınar Su; PKART=Plastikkart,Plastkart; PKENT=Petrokent Turizm; PLTUR=Platform Turizm; PNLSN=Panelsan
PNSUT=Pınar Süt; POLHO=Polisan Holding; POLTK=Politeknik Metal; PRKAB=Türk Prysmian Kablo
PRKME=Park Elektrik; PRZMA=Prizma Pres
PSDTC=Pergamon Dış Ticaret; PSGYO=Pasifik GYO; QNBFK=QNB Finansal Kiralama
QNBTR=QNB Bank,QNB Finansbank,Finansbank,QNB Türkiye
QUAGR=Qua Granite; RALYH=Ral Yatırım Holding; RAYSG=Ray Sigorta; REEDR=Reeder Teknoloji,Reeder
RGYAS=Rönesans Gayrimenkul,Rönesans GYO; RNPOL=Rainbow Polikarbonat; RODRG=Rodrigo Tekstil; RTALB=RTA Laboratuvarları
RUBNS=Rubenis Tekstil; RYGYO=Reysaş GYO; RYSAS=Reysaş Lojistik,Reysaş; SAFKR=Safkar
SAHOL=Sabancı Holding,Sabancı,Hacı Ömer Sabancı Holding; SANEL=Sanel Mühendislik; SANFM=Sanifoam
SANKO=Sanko Pazarlama; SARKY=Sarkuysan; SASA=Sasa Polyester,Sasa; SAYAS=Say Yenilenebilir Enerji
SDTTR=SDT Uzay ve Savunma,SDT Uzay; SEGMN=Seğmen Kardeşler Gıda; SEKUR=Sekuro Plastik
SELEC=Selçuk Ecza,Selçuk Ecza Deposu; SELVA=Selva Gıda; SERNT=Seranit; SEYKM=Seyitler Kimya; SILVR=Silverline
SISE=Şişecam,Türkiye Şişe ve Cam Fabrikaları,Şişe Cam; SKBNK=Şekerbank; SKTAS=Söktaş; SKYLP=Skyalp
SMART=Smartiks Yazılım; SMRTG=Smart Güneş,Smart Güneş Enerjisi; SNGYO=Sinpaş GYO; SNICA=Sanica Isı
SNPAM=Sönmez Pamuklu; SOKE=Söke Değirmencilik; SOKM=Şok Marketler,Şok Market; SONME=Sönmez Filament; SRVGY=Servet GYO
SUNTK=Sun Tekstil; SURGY=Sur Tatil Evleri; SUWEN=Suwen Tekstil,Suwen; TABGD=TAB Gıda; TARKM=Tarkim Bitki Koruma
TATEN=Tatlıpınar Enerji; TATGD=Tat Gıda; TAVHL=TAV Havalimanları,TAV; TBORG=Türk Tuborg,Tuborg; TCELL=Turkcell
TCKRC=Kıraç Galvaniz; TEKTU=Tek-Art; TERA=Tera Yatırım; TEZOL=Europap Tezol; TGSAS=TGS Dış Ticaret
THYAO=Türk Hava Yolları,THY,Turkish Airlines,Türk Hava Yolları AO; TKFEN=Tekfen Holding,Tekfen; TKNSA=Teknosa
TMSN=Tümosan; TNZTP=Tapdi Oksijen; TOASO=Tofaş,Tofaş Oto; TRCAS=Turcas,Turcas Petrol; TRGYO=Torunlar GYO
TRILC=Turk İlaç,Türk İlaç ve Serum; TSGYO=TSKB GYO; TSKB=TSKB,Türkiye Sınai Kalkınma Bankası; TSPOR=Trabzonspor
TTKOM=Türk Telekom,Turk Telekom; TTRAK=Türk Traktör; TUCLK=Tuğçelik; TUKAS=Tukaş,Tukaş Gıda
TUPRS=Tüpraş,Türkiye Petrol Rafinerileri; TUREX=Tureks Turizm; TURGG=Türker Proje; TURSG=Türkiye Sigorta
UFUK=Ufuk Yatırım; ULAS=Ulaşlar Turizm; ULKER=Ülker,Ülker Bisküvi; ULUFA=Ulusal Faktoring; ULUSE=Ulusoy Elektrik
ULUUN=Ulusoy Un; UNLU=Ünlü Yatırım Holding,Ünlü & Co; USAK=Uşak Seramik
VAKBN=VakıfBank,Vakıfbank,Türkiye Vakıflar Bankası,Vakıflar Bankası; VAKFN=Vakıf Finansal Kiralama; VAKKO=Vakko
VANGD=Vanet Gıda; VBTYZ=VBT Yazılım; VERTU=Verusaturk; VERUS=Verusa Holding; VESBE=Vestel Beyaz Eşya; VESTL=Vestel
VKGYO=Vakıf GYO; VRGYO=Vera Konsept GYO; YAPRK=Yaprak Süt; YATAS=Yataş; YAYLA=Yayla Enerji; YBTAS=Yibitaş
YEOTK=YEO Teknoloji; YGGYO=Yeni Gimat GYO; YIGIT=Yiğit Akü
YKBNK=Yapı Kredi,Yapı ve Kredi Bankası,Yapı Kredi Bankası,YKB; YKSLN=Yükselen Çelik; YUNSA=Yünsa; YYAPI=Yeşil Yapı
YYLGD=Yayla Agro,Yayla Gıda; ZEDUR=Zedur Enerji; ZOREN=Zorlu Enerji; ZRGYO=Ziraat GYO
"""
