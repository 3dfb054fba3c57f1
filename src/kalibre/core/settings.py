"""Settings: one `kalibre.toml` plus `KALIBRE_*` environment variables (which win); every default stands here."""

from __future__ import annotations

import os
import re
import tomllib
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from kalibre.core.catalog import part_names
from kalibre.core.environment import Environment, faults
from kalibre.core.errors import BarError, SettingsError
from kalibre.core.timeframe import is_multiple, timeframe_ms, timeframes_above

FILE_NAME = "kalibre.toml"


class _Section(BaseModel):
    # No limit, share or price is NaN or infinite: every comparison with NaN is false, so a gate would never speak.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _timeframe(value: str) -> str:
    try:
        timeframe_ms(value)
    except BarError as error:
        raise ValueError(str(error)) from error
    return value


def _part(folder: str, value: str) -> str:
    """Refuse what no file of a folder is named like; nothing of the folder is imported for that."""
    names = part_names(f"kalibre.{folder}")
    if value not in names:
        raise ValueError(f"it is no file of {folder}/: choose one of {', '.join(names)}")
    return value


class LogSettings(_Section):
    """Where the event log lives."""

    url: str = Field("", description="empty: SQLite file in home; or postgresql://user@host/database")
    batch_size: int = Field(64, ge=1, le=10_000, description="events a projection commits together")
    snapshot_every_events: int = Field(10_000, ge=1, description="events between two snapshots of a projection")


class MarketSettings(_Section):
    """What is watched."""

    source: str = Field(
        "binance", description="a file of sources/: binance, ccxt, files, postgres, sample, simulated, replay"
    )
    symbols: tuple[str, ...] = Field(("BTCUSDT",), min_length=1, description="symbols as the source writes them")
    timeframe: str = Field("15m", description="base timeframe: 1m, 5m, 15m, 1h, 4h, 1d")
    calendar: str = Field("24/7", description="24/7 for crypto, XIST for Borsa Istanbul, forex for currencies")
    source_options: dict[str, Any] = Field(
        default_factory=dict, description="passed to the source, for example {path = 'bars.csv'}"
    )

    @field_validator("timeframe")
    @classmethod
    def _readable(cls, value: str) -> str:
        return _timeframe(value)

    @field_validator("source")
    @classmethod
    def _known(cls, value: str) -> str:
        return _part("sources", value)

    @field_validator("symbols")
    @classmethod
    def _whole(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in value:
            # The bar separates symbol, timeframe and role in the keys of the log.
            if not symbol.strip() or "|" in symbol or not symbol.isprintable():
                raise ValueError(f"{symbol!r} is no symbol: name it without '|', control signs or blanks alone")
        if len(set(value)) < len(value):
            raise ValueError("a symbol is named twice: name each once")
        return value


class FeatureSettings(_Section):
    """What a model sees."""

    higher_timeframes: tuple[str, ...] = Field(
        ("1h", "4h"), description="closed bars of these timeframes join the base columns"
    )
    scale_window: int = Field(0, ge=0, description="bars of the trailing 0-1 scaling; 0 leaves columns as they are")
    news: bool = Field(False, description="models also see snews_impact and snews_conf, what headlines said by then")

    @field_validator("higher_timeframes")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(map(_timeframe, value))) < len(value):
            raise ValueError("a timeframe is named twice: name each once")
        return value

    @field_validator("scale_window")
    @classmethod
    def _scales(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one bar has no range to scale by: take 0 for no scaling, or at least 2")
        return value


class ModelSettings(_Section):
    """How a model learns."""

    label: str = Field("direction", description="a file of labels/: direction or triple_barrier")
    horizon_bars: int = Field(4, ge=1, le=10_000, description="bars until a forecast is checked")
    rounds: int = Field(400, ge=1, description="most boosting rounds; early stopping usually takes fewer")
    early_stopping_rounds: int = Field(40, ge=1)
    metric: Literal["binary_logloss", "auc"] = Field(
        "binary_logloss", description="early stopping looks at this metric: binary_logloss or auc"
    )
    learning_rate: float = Field(0.05, gt=0, le=1)
    leaves: int = Field(2, ge=2, le=1024, description="2: additive, for what little signal bars hold; 15: interactions")
    min_samples_leaf: int = Field(200, ge=1)
    max_class_weight: float = Field(5.0, ge=1, description="no class weighs more than this against the other")
    folds: int = Field(5, ge=2, le=50, description="walk-forward folds before the final window")
    threshold_pairs: int = Field(2000, ge=1, description="(entry, exit) pairs of the sweep")
    seed: int = Field(7, ge=0)

    @field_validator("label")
    @classmethod
    def _known(cls, value: str) -> str:
        return _part("labels", value)


class CostSettings(_Section):
    """What trading costs, per side."""

    fee_bps: float = Field(4.0, ge=0, le=1000, description="exchange fee in basis points of the traded value")
    slippage_bps: float = Field(1.0, ge=0, le=1000, description="adverse move between decision and fill")


class RiskSettings(_Section):
    """How much may be at stake."""

    initial_cash: float = Field(10_000.0, gt=0)
    max_exposure: float = Field(1.0, gt=0, le=1, description="largest share of equity in one position")
    risk_per_trade: float = Field(0.003, gt=0, le=1, description="equity at stake in one expected horizon move")
    daily_loss: float = Field(
        0.05, gt=0, le=1, description="loss within a UTC day that closes the position until the next"
    )
    stale_bars: int = Field(2, ge=1, description="bars without news after which nothing is decided")


class GateSettings(_Section):
    """What a model has to prove. Loosening a gate is recorded with every promotion."""

    max_ece: float = Field(0.05, gt=0, le=1)
    min_dsr: float = Field(0.95, ge=0, le=1)
    min_sharpe: float = Field(1.2)
    max_drawdown: float = Field(0.15, gt=0, le=1)


SCOPES = ("read", "predict", "operate", "kill", "admin")


class ApiSettings(_Section):
    """The HTTP side."""

    host: str = "127.0.0.1"
    port: int = Field(8617, ge=0, le=65_535)
    keys: dict[str, str] = Field(
        default_factory=dict, description="key = comma separated scopes of read, predict, operate, kill, admin"
    )
    public: bool = Field(False, description="allow an address that is not loopback; needs keys of your own")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="further names that clients may call this server by, for example ('kalibre.example.com',)"
    )

    @field_validator("keys")
    @classmethod
    def _scoped(cls, value: dict[str, str]) -> dict[str, str]:
        for scope in (scope.strip() for text in value.values() for scope in text.split(",")):
            if scope and scope not in SCOPES:
                raise ValueError(f"scope {scope!r} is unknown; give some of {', '.join(SCOPES)}, comma separated")
        return value


class AlertSettings(_Section):
    """Who is told when something needs a person."""

    urls: tuple[SecretStr, ...] = Field(
        (),
        description="addresses in apprise's form: tgram://token/chat, slack://a/b/c, mailto://user:password@host, "
        "json://host/path; never shown again",
    )
    minimum_level: Literal["info", "warning", "critical"] = Field(
        "warning", description="nothing below this is told: info, warning or critical"
    )
    quiet_hours: str = Field(
        "", description='as "23:00-07:00", Istanbul time: what is not critical waits for one digest at their end'
    )
    per_hour: int = Field(
        20, ge=1, le=1000, description="most messages in any hour; a quarter of them is kept for critical ones"
    )
    repeat_after_minutes: int = Field(
        60, ge=1, le=10_080, description="the same trouble is not told again before so many minutes have passed"
    )
    allow_private: bool = Field(
        False, description="let webhooks reach loopback, private and link-local addresses, all of them"
    )
    allow_networks: tuple[str, ...] = Field((), description="or these networks only, for example ('10.20.0.0/16',)")

    @field_validator("urls")
    @classmethod
    def _addressed(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for place, url in enumerate(value, start=1):
            if re.fullmatch(r"[a-z][a-z0-9]*://\S*", url.get_secret_value(), re.IGNORECASE) is None:
                raise ValueError(
                    f"address {place} is not of the form service://rest, without blanks; one that holds a comma "
                    "has to stand in a JSON list"
                )
        return value

    @field_validator("quiet_hours")
    @classmethod
    def _hours(cls, value: str) -> str:
        if value and (re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", value) is None):
            raise ValueError("write two times of day as 23:00-07:00, or leave it empty")
        if value and value[:5] == value[6:]:
            raise ValueError("they end as they begin: for whole days of quiet raise minimum_level instead")
        return value

    @field_validator("allow_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}: write it as 10.20.0.0/16 or fd00:1::/64") from error
        return value

    @property
    def quiet_minutes(self) -> tuple[int, int] | None:
        """Beginning and end of the quiet hours, in minutes of the day; None where there are none."""
        if not self.quiet_hours:
            return None
        begin, end = (int(text[:2]) * 60 + int(text[3:]) for text in self.quiet_hours.split("-"))
        return begin, end


class HubSettings(_Section):
    """The learners that never stop, and what keeps them running."""

    learners: tuple[str, ...] = Field((), description="files of learners/ that run; empty: all of them")
    grouping: Literal["grouped", "apart"] = Field(
        "grouped", description="light learners in one process, or each in a process of its own; the results are equal"
    )
    history_days: int = Field(90, ge=0, description="days of bars fetched before the first live one of a new log")
    memory_limit_mb: int = Field(2_000, ge=200, description="memory above which a worker is started anew")
    restart_cron: str = Field("", description="when every worker is started anew, as cron says it; empty: never")
    checkpoints_kept: int = Field(24, ge=1, description="newest checkpoints of each learner, beside one a day")
    checkpoint_copies: str = Field("", description="where copies of them go: any fsspec address; empty: nowhere")
    retrain_cron: str = Field("", description="when a challenger is trained, as cron says it; empty: on drift only")
    retrain_on_drift: bool = Field(True, description="train a challenger when the champion's forecasts drift")
    redis_url: str = Field("", description="redis://host:6379/0: forecasts and signals are published there")

    @field_validator("learners")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_part("learners", name) for name in value))

    @field_validator("restart_cron", "retrain_cron")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value:
            from cronsim import CronSim, CronSimError

            try:
                CronSim(value, datetime.now(tz=UTC))
            except CronSimError as error:
                raise ValueError(f"{error}; write it as minute hour day month weekday, such as 0 4 * * 0") from error
        return value


class LanguageSettings(_Section):
    """Which models read text."""

    sentiment: str = Field("builtin:fast", description="builtin:fast, builtin:encoder, or the folder of a saved model")
    entities: str = Field("builtin:fast", description="likewise")
    answering: str = Field("builtin:fast", description="likewise")
    index: str = Field("", description="folder of the passages that answers come from; empty: language/index in home")
    answer_precision: float = Field(
        0.8, gt=0, lt=1, description="share of the given answers that should be right; below it none is given"
    )
    universe: tuple[str, ...] = Field((), description="assets that headlines are scored for; empty: all that are known")
    relevance: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="weight of each asset whose headlines matter for a symbol: {BTCUSDT = {BTC = 1.0, ETH = 0.3}}",
    )
    endpoint_url: str = Field("", description="an OpenAI-compatible address that scores headlines; empty: the builtin")
    endpoint_model: str = Field("", description="its model's name")
    endpoint_key: SecretStr = Field(SecretStr(""), description="its key; never shown again")
    endpoint_requests: int = Field(1_000, ge=0, description="most calls, retries included, for good")
    endpoint_tokens: int = Field(2_000_000, ge=0, description="most tokens, for good")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.endpoint_url) != bool(self.endpoint_model):
            raise ValueError("endpoint_url and endpoint_model belong together: set both, or neither")
        if self.endpoint_url and not self.universe:
            raise ValueError("an endpoint needs a universe: name the assets that it may score, such as BIST100")
        for symbol, weights in self.relevance.items():
            if not weights or any(not 0 < weight <= 1 for weight in weights.values()):
                raise ValueError(f"relevance of {symbol!r} is {weights}: weigh each asset above 0 and at most 1")
        return self


class Settings(BaseSettings):
    """Every setting; sections as in `kalibre.toml`, environment as `KALIBRE_MARKET__TIMEFRAME=1h`."""

    model_config = SettingsConfigDict(
        env_prefix="KALIBRE_", env_nested_delimiter="__", extra="forbid", frozen=True, toml_file=None
    )

    home: Path = Field(Path("kalibre_home"), description="folder for the log, models, reports and the KILL file")
    lang: Literal["tr", "en"] = Field("en", description="language of pages, reports and alerts")
    registry_url: str = Field("", description="empty: MLflow on SQLite in home; or the address of an MLflow server")
    log: LogSettings = LogSettings()  # type: ignore[call-arg]
    market: MarketSettings = MarketSettings()  # type: ignore[call-arg]
    features: FeatureSettings = FeatureSettings()  # type: ignore[call-arg]
    model: ModelSettings = ModelSettings()  # type: ignore[call-arg]
    costs: CostSettings = CostSettings()  # type: ignore[call-arg]
    risk: RiskSettings = RiskSettings()  # type: ignore[call-arg]
    gates: GateSettings = GateSettings()  # type: ignore[call-arg]
    api: ApiSettings = ApiSettings()  # type: ignore[call-arg]
    alerts: AlertSettings = AlertSettings()  # type: ignore[call-arg]
    hub: HubSettings = HubSettings()  # type: ignore[call-arg]
    language: LanguageSettings = LanguageSettings()  # type: ignore[call-arg]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and arguments over both."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=settings_cls.model_config.get("toml_file"))
        return (init_settings, Environment(settings_cls), toml)

    @model_validator(mode="after")
    def _higher_bars_are_whole(self) -> Self:
        base = self.market.timeframe
        for higher in timeframes_above(base, self.features.higher_timeframes):
            if not is_multiple(higher, base):
                raise ValueError(
                    f"features.higher_timeframes: bars of {higher!r} are not made of whole bars of market.timeframe "
                    f"{base!r}; take a multiple of it, or leave {higher!r} out"
                )
        return self

    @property
    def log_url(self) -> str:
        """Address of the log: the one set, or the SQLite file in `home`."""
        return self.log.url or f"sqlite:///{self.home / 'log.sqlite'}"

    @property
    def kill_file(self) -> Path:
        """Touching this file engages the kill switch."""
        return self.home / "KILL"

    @property
    def models_dir(self) -> Path:
        """Folder of stored models, one folder a version."""
        return self.home / "models"

    @property
    def snapshots_dir(self) -> Path:
        """Folder of projection snapshots."""
        return self.home / "snapshots"


def make_home(home: Path) -> None:
    """Make the home folder, if it is not there.

    Raises
    ------
    SettingsError
        If it cannot be made; the message names it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"home {str(home)!r} cannot be made: {error}; set KALIBRE_HOME to another folder"
        ) from error


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Read `kalibre.toml` (the given one, `$KALIBRE_CONFIG`, or the one here) and the environment.

    Raises
    ------
    SettingsError
        If the file is not TOML, a name is unknown or a value out of range; the message quotes each.
    """
    chosen = path or (Path(os.environ["KALIBRE_CONFIG"]) if "KALIBRE_CONFIG" in os.environ else Path(FILE_NAME))
    if path is not None and not path.is_file():
        raise SettingsError(f"settings file {str(path)!r} is not there: run `kalibre init` to write one")
    try:
        configured = type("Settings", (Settings,), {"model_config": {**Settings.model_config, "toml_file": chosen}})
        loaded: Settings = configured(**overrides)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f'{str(chosen)!r} is not TOML: {error}; mend that line (a text stands in quotes: name = "text")'
        ) from error
    except ValidationError as error:
        raise SettingsError(f"settings cannot be used ({chosen}): {'; '.join(faults(error, Settings))}") from error
    return loaded
