"""The one tree of errors. Each message quotes the offending value and says what to do."""

from __future__ import annotations


class KalibreError(Exception):
    """Root of every error that Kalibre raises on purpose; `exit_code` is what the CLI returns."""

    exit_code: int = 1


class SettingsError(KalibreError):
    """A setting is missing, unknown or out of range."""

    exit_code = 2


class UsageError(KalibreError):
    """A command or call was given arguments that cannot be used."""

    exit_code = 2


class CatalogError(KalibreError):
    """A part (source, label, feature family, ...) is unknown or does not keep its protocol."""

    exit_code = 2


class BarError(KalibreError):
    """A bar or a series of bars breaks the rules of a bar."""


class CalendarError(KalibreError):
    """A calendar or a session is unknown."""


class SourceError(KalibreError):
    """A source cannot deliver; the base of the ones below."""


class UnknownSymbolError(SourceError):
    """The source does not list the symbol."""

    exit_code = 2


class RateLimitedError(SourceError):
    """The source asks for patience; `retry_after_s` says how much."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class SourceBannedError(SourceError):
    """The source has banned this address: going on would lengthen the ban."""


class SourceUnavailableError(SourceError):
    """The source is down, unreachable or refuses this region."""


class SourceRefusedError(SourceUnavailableError):
    """The source refuses to serve this address or region: trying again cannot help."""


class SourceFormatError(SourceError):
    """What the source sent is not in the format it promises."""


class LogError(KalibreError):
    """The event log cannot be read or written; the base of the ones below."""


class DeterminismError(LogError):
    """A projection emitted other content under an identity that is already recorded."""


class LogCorruptError(LogError):
    """The log's storage is damaged."""


class LogLockedError(LogError):
    """Another process holds the log for longer than the stated patience."""


class LogUnavailableError(LogError):
    """The log's server is down or the connection to it was lost; what was being committed may or may not be stored."""


class SnapshotError(LogError):
    """A snapshot is damaged, unreadable or of another code version."""


class FeatureError(KalibreError):
    """A feature was asked for something it cannot compute."""


class LabelError(KalibreError):
    """A label was asked for something it cannot compute."""


class DatasetError(KalibreError):
    """A data set is too short, has one class only, or would leak."""


class ModelError(KalibreError):
    """A model cannot be fitted, loaded or asked."""


class CalibrationError(KalibreError):
    """A calibrator cannot be fitted or applied."""


class EvaluationError(KalibreError):
    """An evaluation cannot be carried out honestly on what it was given."""


class VerificationError(KalibreError):
    """A column looks into the future, is skewed, or depends on where the history began."""


class PolicyError(KalibreError):
    """A threshold, size or limit is out of range."""


class KillSwitchEngagedError(KalibreError):
    """The kill switch is engaged: nothing may be ordered."""

    exit_code = 4


class RegistryError(KalibreError):
    """A model version is unknown, damaged or may not take the alias."""


class PromotionRefusedError(RegistryError):
    """A gate refused the promotion; the message names each failed gate with its figure."""


class AlertError(KalibreError):
    """An alert could not be delivered now; trying again later may help."""


class AlertRefusedError(AlertError):
    """The target was reached and did not take this message."""


class AlertTargetError(AlertError):
    """A target is wrong for good: no message will reach it until its address, key or rights are mended."""


class ApiError(KalibreError):
    """An HTTP request that cannot be answered; `status` is the status code that says so."""

    def __init__(self, message: str, *, status: int, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class LearnerError(KalibreError):
    """A learner was asked for what it cannot do, or its state is not its own."""


class HubError(KalibreError):
    """The hub, one of its workers or jobs cannot do what it was asked for."""


class LeaseLostError(HubError):
    """A job is no longer this worker's: its lease ran out and another took it over. Nothing of it was committed."""


class JobStoppedError(HubError):
    """A job was left half way because its worker is asked to stop; it is handed back and begins again elsewhere."""


class DeliveryError(KalibreError):
    """What the outbox holds cannot be delivered now; it is tried again."""


class UndeliverableError(DeliveryError):
    """What the outbox holds will be refused by its receiver every time; after some tries it is passed over."""


class LanguageError(KalibreError):
    """A text cannot be used as it is: not text, too long, or empty where something has to be read."""

    exit_code = 2
