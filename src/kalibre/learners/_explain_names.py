"""What people call the columns, in English and Turkish: a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Name(NamedTuple):
    """How a kind of column is called, and how its values are to be read.

    `reading`: `level` is low, high or in the middle, by `limits` where custom knows them; `sign` is positive or
    negative; `switch` is open or closed; `plain` is only told.
    """

    en: str
    tr: str
    reading: Literal["level", "sign", "switch", "plain"] = "plain"
    limits: tuple[float, float] | None = None


THIRDS = (1 / 3, 2 / 3)
NAMES: Mapping[str, Name] = {
    # momentum
    "log_return": Name("return", "getiri", "sign"),
    "change": Name("price change", "fiyat değişimi", "sign"),
    "roc": Name("rate of change", "değişim oranı", "sign"),
    "rsi": Name("RSI", "RSI", "level", (30.0, 70.0)),
    "stochastic_k": Name("stochastic %K", "stokastik %K", "level", (20.0, 80.0)),
    "stochastic_d": Name("stochastic %D", "stokastik %D", "level", (20.0, 80.0)),
    "stochastic_rsi_k": Name("stochastic RSI %K", "stokastik RSI %K", "level", (20.0, 80.0)),
    "stochastic_rsi_d": Name("stochastic RSI %D", "stokastik RSI %D", "level", (20.0, 80.0)),
    "cci": Name("CCI", "CCI", "level", (-100.0, 100.0)),
    "williams_r": Name("Williams %R", "Williams %R", "level", (-80.0, -20.0)),
    "trix": Name("TRIX", "TRIX", "sign"),
    "ultimate": Name("ultimate oscillator", "ultimate osilatörü", "level", (30.0, 70.0)),
    # news
    "snews_impact": Name("direction of the news", "haberlerin yönü", "sign"),
    "snews_conf": Name("certainty of the news", "haberlerin kesinliği", "level", THIRDS),
    # time
    "hour_sin": Name("time of day, sine", "günün saati, sinüs"),
    "hour_cos": Name("time of day, cosine", "günün saati, kosinüs"),
    "weekday_sin": Name("time of week, sine", "haftanın günü, sinüs"),
    "weekday_cos": Name("time of week, cosine", "haftanın günü, kosinüs"),
    "session_asia": Name("Asian session", "Asya seansı", "switch"),
    "session_europe": Name("European session", "Avrupa seansı", "switch"),
    "session_america": Name("American session", "Amerika seansı", "switch"),
    # trend
    "sma": Name("moving average", "hareketli ortalama"),
    "sma_distance": Name("distance from the moving average", "hareketli ortalamaya uzaklık", "sign"),
    "ema": Name("exponential average", "üstel ortalama"),
    "ema_distance": Name("distance from the exponential average", "üstel ortalamaya uzaklık", "sign"),
    "wma": Name("weighted average", "ağırlıklı ortalama"),
    "wma_distance": Name("distance from the weighted average", "ağırlıklı ortalamaya uzaklık", "sign"),
    "macd": Name("MACD in price", "fiyat cinsinden MACD", "sign"),
    "macd_signal": Name("MACD signal in price", "fiyat cinsinden MACD sinyali", "sign"),
    "macd_histogram": Name("MACD histogram in price", "fiyat cinsinden MACD histogramı", "sign"),
    "macd_relative": Name("MACD", "MACD", "sign"),
    "macd_signal_relative": Name("MACD signal", "MACD sinyali", "sign"),
    "macd_histogram_relative": Name("MACD histogram", "MACD histogramı", "sign"),
    "adx": Name("ADX", "ADX", "level", (20.0, 40.0)),
    "plus_di": Name("upward movement +DI", "yukarı yönlü hareket +DI", "level", (15.0, 30.0)),
    "minus_di": Name("downward movement -DI", "aşağı yönlü hareket -DI", "level", (15.0, 30.0)),
    "aroon_up": Name("Aroon up", "Aroon yukarı", "level", (30.0, 70.0)),
    "aroon_down": Name("Aroon down", "Aroon aşağı", "level", (30.0, 70.0)),
    "sar": Name("parabolic SAR", "parabolik SAR"),
    "sar_distance": Name("distance from the parabolic SAR", "parabolik SAR'a uzaklık", "sign"),
    "slope": Name("slope in price", "fiyat cinsinden eğim", "sign"),
    "slope_relative": Name("slope", "eğim", "sign"),
    "efficiency": Name("straightness of the path", "hareketin doğrusallığı", "level", THIRDS),
    # volatility
    "true_range": Name("true range in price", "fiyat cinsinden gerçek aralık", "level"),
    "atr": Name("average true range in price", "fiyat cinsinden ortalama gerçek aralık", "level"),
    "natr": Name("average true range", "ortalama gerçek aralık", "level"),
    "range_relative": Name("range of the bar", "mumun aralığı", "level"),
    "stddev": Name("deviation in price", "fiyat cinsinden standart sapma", "level"),
    "bollinger_upper": Name("upper Bollinger band", "üst Bollinger bandı"),
    "bollinger_lower": Name("lower Bollinger band", "alt Bollinger bandı"),
    "bollinger_position": Name(
        "place between the Bollinger bands", "Bollinger bantları içindeki konum", "level", THIRDS
    ),
    "bollinger_width": Name("width of the Bollinger bands", "Bollinger bant genişliği", "level"),
    "keltner_upper": Name("upper Keltner channel", "üst Keltner kanalı"),
    "keltner_lower": Name("lower Keltner channel", "alt Keltner kanalı"),
    "keltner_position": Name("place within the Keltner channel", "Keltner kanalı içindeki konum", "level", THIRDS),
    "donchian_upper": Name("highest high", "en yüksek tepe"),
    "donchian_lower": Name("lowest low", "en düşük dip"),
    "donchian_position": Name(
        "place between lowest low and highest high", "dip ile tepe arasındaki konum", "level", THIRDS
    ),
    "donchian_width": Name("distance of highest high and lowest low", "tepe ile dip arasındaki mesafe", "level"),
    "parkinson": Name("volatility from high and low", "tepe ve dipten oynaklık", "level"),
    "garman_klass": Name("volatility from the whole bar", "mumun tamamından oynaklık", "level"),
    "realised_volatility": Name("volatility", "oynaklık", "level"),
    # volume
    "obv_change": Name("change of the on-balance volume", "denge hacmi (OBV) değişimi", "sign"),
    "obv_flow": Name("flow of the on-balance volume", "denge hacmi (OBV) akışı", "sign"),
    "ad_change": Name("change of accumulation and distribution", "birikim/dağıtım değişimi", "sign"),
    "chaikin_oscillator": Name("Chaikin oscillator in volume", "hacim cinsinden Chaikin osilatörü", "sign"),
    "chaikin_relative": Name("Chaikin oscillator", "Chaikin osilatörü", "sign"),
    "mfi": Name("money flow index", "para akışı endeksi", "level", (20.0, 80.0)),
    "cmf": Name("Chaikin money flow", "Chaikin para akışı", "sign"),
    "vwap": Name("volume-weighted price", "hacim ağırlıklı fiyat"),
    "vwap_distance": Name("distance from the volume-weighted price", "hacim ağırlıklı fiyata uzaklık", "sign"),
    "volume_z": Name("volume against its usual", "olağanına göre hacim", "level", (-1.0, 1.0)),
    "volume_ratio": Name("volume over its mean", "ortalamasına göre hacim", "level", (0.7, 1.5)),
    "taker_imbalance": Name("takers' buying less selling", "piyasa alıcılarının satıcılara üstünlüğü", "sign"),
}
"""Every kind of column by its pattern without parameters. One that is new has the name that its family gives it."""

FAMILIES: Mapping[str, tuple[str, str]] = {
    "momentum": ("momentum", "momentum"),
    "news": ("news", "haberler"),
    "time": ("time", "zaman"),
    "trend": ("trend", "trend"),
    "volatility": ("volatility", "oynaklık"),
    "volume": ("volume", "hacim"),
}
