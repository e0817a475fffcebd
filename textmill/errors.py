"""The exception tree that producers, the api and the workers share.

Each class says its stable `code`, and whether trying the same thing again can help (`retry`). The docstring is the
message that is shown when none is given. Which HTTP status a class gets is the api's business: `api/v1/errors.py`.
"""

from typing import Any, ClassVar


class TextmillError(Exception):
    """Something in Textmill went wrong."""

    code: ClassVar[str] = "textmill_error"
    retry: ClassVar[bool] = False

    def __init__(self, message: str | None = None, **details: Any) -> None:
        self.message = message or (type(self).__doc__ or self.code).strip().split("\n")[0]
        self.details = details
        """Machine-readable facts about this error, shown to the producer (the valid options, a position)."""
        super().__init__(self.message)


# --- refused at the door ---------------------------------------------------------------------------------------------


class InvalidRequest(TextmillError):
    """The request is not of the documented form."""

    code = "invalid_request"


class InvalidOptions(InvalidRequest):
    """The options are not valid for this task and model."""

    code = "invalid_options"


class InvalidDocument(InvalidRequest):
    """A document lacks a field that its task needs, or has one that the task does not know."""

    code = "invalid_document"


class InvalidText(InvalidRequest):
    """A text has a character that cannot be stored: NUL or half of a surrogate pair."""

    code = "invalid_text"


class InvalidCursor(InvalidRequest):
    """The cursor was not given out by this installation."""

    code = "invalid_cursor"


class DuplicateDocument(InvalidRequest):
    """Two documents of one job have the same id (without an id it is the position)."""

    code = "duplicate_document_id"


class TooManyDocuments(InvalidRequest):
    """One request carries more documents than allowed: open the job and append them in chunks."""

    code = "too_many_documents"


class RequestTooLarge(InvalidRequest):
    """The body of the request is larger than allowed: open the job and append documents in chunks."""

    code = "request_too_large"


class BodyTimeout(TextmillError):
    """The body of the request did not arrive in time."""

    code = "body_timeout"
    retry = True


class UnsupportedMediaType(InvalidRequest):
    """The body is of a type or encoding that this call does not take."""

    code = "unsupported_media_type"


class MissingExtra(InvalidRequest):
    """A package is not installed that this needs: an extra of the wheel brings it."""

    code = "missing_extra"


class NotFound(TextmillError):
    """There is nothing at this address."""

    code = "not_found"


class MethodNotAllowed(TextmillError):
    """This address does not take that method."""

    code = "method_not_allowed"


class Unauthorized(TextmillError):
    """The API key is missing, unknown or revoked."""

    code = "unauthorized"


class Forbidden(TextmillError):
    """The key's role does not allow that."""

    code = "forbidden"


class KeyNotFound(TextmillError):
    """There is no such key."""

    code = "key_not_found"


class JobNotFound(TextmillError):
    """There is no such job under this key."""

    code = "job_not_found"


class DocumentNotFound(TextmillError):
    """There is no such document in this job."""

    code = "document_not_found"


class DeliveryNotFound(TextmillError):
    """There is no such delivery of this job."""

    code = "delivery_not_found"


class FileNotFound(TextmillError):
    """There is no such file under this key."""

    code = "file_not_found"


class FileInUse(TextmillError):
    """A batch is still going to read this file."""

    code = "file_in_use"


class BatchNotFound(TextmillError):
    """There is no such batch under this key."""

    code = "batch_not_found"


class BatchEnded(TextmillError):
    """The batch has ended, or is about to."""

    code = "batch_ended"


class ResultNotReady(TextmillError):
    """The document has no outcome yet."""

    code = "result_not_ready"
    retry = True


class ModelNotFound(InvalidRequest):
    """The catalogue has no such model."""

    code = "model_not_found"


class CatalogueError(TextmillError):
    """The catalogue file is wrong."""

    code = "invalid_catalogue"


class JobClosed(TextmillError):
    """The job takes no more documents: it was closed, or it has ended."""

    code = "job_closed"


class JobNotEnded(TextmillError):
    """The job has not ended yet."""

    code = "job_not_ended"


class NothingToRetry(TextmillError):
    """No document of this job failed in the way named."""

    code = "nothing_to_retry"


class MatchChanged(TextmillError):
    """Other jobs match than were expected: nothing was done."""

    code = "match_changed"


class UploadOffsetMismatch(TextmillError):
    """The upload offset is not the job's number of documents: continue from the total in this answer."""

    code = "upload_offset_mismatch"


class IdempotencyMismatch(InvalidRequest):
    """This idempotency key was used before with another request."""

    code = "idempotency_mismatch"


class InvalidWebhook(InvalidRequest):
    """The address of the webhook is not one that this installation sends to."""

    code = "invalid_webhook"


class WebhookSecretMissing(InvalidRequest):
    """The key has no secret by which its webhooks are signed: make one first (POST /v1/webhooks/secrets)."""

    code = "webhook_secret_missing"


class NotSupported(InvalidRequest):
    """This installation does not offer that yet."""

    code = "not_supported"


class TooManyRequests(TextmillError):
    """Too much at once: try again after a while."""

    code = "too_many_requests"
    retry = True


class TooManyOpenJobs(TooManyRequests):
    """The key has as many jobs as it may that have not ended."""

    code = "too_many_open_jobs"


class DailyLimitReached(TooManyRequests):
    """The key has submitted as many documents as it may on one day."""

    code = "daily_limit_reached"


class Unavailable(TextmillError):
    """The service cannot answer right now."""

    code = "unavailable"
    retry = True


class Overloaded(Unavailable):
    """The server holds as many bodies of requests as it may: try again after a while."""

    code = "overloaded"


class AnswerTimeout(Unavailable):
    """No answer was there in time: the work was given up."""

    code = "answer_timeout"


# --- what a document's or a job's processing can end in --------------------------------------------------------------


class DocumentError(TextmillError):
    """The document could not be processed."""

    code = "document_error"


class DocumentTooLong(DocumentError):
    """The text does not fit the model's window, and the job asked for an error in that case."""

    code = "document_too_long"


class FileUnreadable(DocumentError):
    """The document's file could not be read."""

    code = "file_unreadable"


class FileDamaged(FileUnreadable):
    """The document's file is damaged, or is not what its name says."""

    code = "file_damaged"


class FileEncrypted(FileUnreadable):
    """The document's file is encrypted."""

    code = "file_encrypted"


class FileWithoutText(FileUnreadable):
    """The document's file has no text: pictures of it, perhaps."""

    code = "file_without_text"


class FileNotText(FileUnreadable):
    """The document's file is not of a format that is read, or has characters that cannot be stored."""

    code = "file_not_text"


class FileEncodingUnknown(FileUnreadable):
    """The encoding of the document's file is not known."""

    code = "file_encoding_unknown"


class FileTooLarge(FileUnreadable):
    """The document's file is larger than one document may be."""

    code = "file_too_large"


class DocumentEmpty(DocumentError):
    """The text has nothing to process."""

    code = "document_empty"


class MaskMissing(DocumentError):
    """The text has no mask to be filled: write the model's own, [MASK] or <mask>."""

    code = "mask_missing"


class ChatTemplateMissing(DocumentError):
    """The model's tokenizer has no chat template, by which messages become a text: give it a text."""

    code = "chat_template_missing"


class MessagesRefused(DocumentError):
    """The model's chat template takes no such messages."""

    code = "messages_refused"


class ReduceDidNotConverge(DocumentError):
    """The summaries of the text's parts did not get shorter from round to round."""

    code = "reduce_did_not_converge"


class DeviceOutOfMemory(DocumentError):
    """The document did not fit on the device, even alone."""

    code = "out_of_memory"
    retry = True


class WorkerLost(DocumentError):
    """The worker died each time that it processed this document."""

    code = "worker_lost"
    retry = True


class ProcessingFailed(DocumentError):
    """The model raised an error on this document."""

    code = "processing_failed"


class ModelError(TextmillError):
    """The model fails even on a text that is known to be good."""

    code = "model_error"
    retry = True


class ModelUnavailable(TextmillError):
    """The model could not be loaded by the worker."""

    code = "model_unavailable"
    retry = True


# --- inside the system -----------------------------------------------------------------------------------------------


class LeaseLost(TextmillError):
    """The lease on the shard has expired, or its job was cancelled: nothing was written."""

    code = "lease_lost"


class Draining(TextmillError):
    """The worker is shutting down: the work goes to another one."""

    code = "draining"
    retry = True


class StoreBusy(Unavailable):
    """The database stayed locked or kept aborting the transaction."""

    code = "store_busy"


class InternalError(TextmillError):
    """The server met an error of its own; its log says more."""

    code = "internal_error"


# --- on the producer's side ------------------------------------------------------------------------------------------


class ServerUnreachable(TextmillError):
    """The Textmill server could not be reached."""

    code = "server_unreachable"
    retry = True


class WaitTimeout(TextmillError):
    """The job did not end within the time given."""

    code = "wait_timeout"
    retry = True


class JobFailed(TextmillError):
    """More of the job's documents failed, or were cancelled, than whoever waited for it allows."""

    code = "job_failed"


def unreadable(code: str, message: str) -> FileUnreadable:
    """What a producer says of a file that it could not read, as an error; of a code that is not known here the general
    one."""
    found = by_code().get(code, FileUnreadable)
    return (found if issubclass(found, FileUnreadable) else FileUnreadable)(message)


def by_code() -> dict[str, type[TextmillError]]:
    """Every class of the tree by its code, for turning an HTTP answer back into its exception."""
    found: dict[str, type[TextmillError]] = {}
    waiting = [TextmillError]
    while waiting:
        cls = waiting.pop()
        found[cls.code] = cls
        waiting += cls.__subclasses__()
    return found
