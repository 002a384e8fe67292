"""One association from the acceptor's side: negotiate, take messages apart, answer them in order (PS3.7, PS3.8).

What is done with an instance, and who is let in, is the business of the
`Service` behind it. Only what a provider of verification, storage and storage
commitment needs is here: one operation at a time, no extended negotiation.
"""

import logging
import ssl
import time
from collections.abc import Callable

from screener import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from screener.command_set import (
    C_CANCEL,
    C_ECHO,
    C_STORE,
    IS_ANSWER,
    LONGEST_COMMAND_BYTES,
    N_ACTION,
    N_EVENT_REPORT,
    Command,
    MalformedCommandError,
    decode_command,
    encode_answer,
    encode_event_report,
)
from screener.connection import (
    SLOWEST_BYTES_PER_SECOND,
    Connection,
    ConnectionOverError,
    StoppingError,
    WrongPDUError,
)
from screener.logs import describe_error
from screener.service import Context, Limits, Rejected, Service, Sink
from screener.upper_layer import (
    ABORT,
    ACCEPTED,
    ASSOCIATE_REQUEST,
    BY_PROVIDER,
    BY_USER,
    COMMAND_BIT,
    DATA,
    INVALID_PARAMETER,
    LAST_BIT,
    NOT_SPECIFIED,
    RELEASE_REQUEST,
    UNEXPECTED_PDU,
    AssociationRequest,
    MalformedPDUError,
    decode_association_request,
    encode_abort,
    encode_accept,
    encode_message,
    encode_reject,
    encode_release_reply,
    split_data,
)

SUCCESS = 0x0000
UNRECOGNIZED_OPERATION = 0x0211  # PS3.7 C.5
LONGEST_QUESTION_BYTES = 16 << 20
"""Data set of a request that is no C-STORE; what of it is decoded has limits of its own."""
AFTER_THE_ANSWER_SECONDS = 0.25
"""A report on the same association goes out once the answer to its request is on its way."""

_logger = logging.getLogger(__name__)


_NO_AUTHORITY = frozenset({2, 18, 19, 20, 21})
"""X.509 verification errors (OpenSSL's X509_V_ERR_*) of a chain that leads to no authority we know."""


def _tell_lack(error: ssl.SSLError) -> str:
    """Say what a caller lacked in the TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        is_stranger = error.verify_code in _NO_AUTHORITY
        return f"its certificate is not {'of an authority in tls_client_ca' if is_stranger else 'valid'}"
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "it showed no certificate"
    return "it does not trust our certificate" if error.reason == "TLSV1_ALERT_UNKNOWN_CA" else "no TLS"


class _Questions:
    """Keeps the data set of a small request."""

    def __init__(self) -> None:
        self.data_set = bytearray()

    def write(self, piece: memoryview) -> None:
        if len(self.data_set) + len(piece) > LONGEST_QUESTION_BYTES:
            raise WrongPDUError(NOT_SPECIFIED, "a request of absurd length")
        self.data_set += piece

    def finish(self) -> tuple[int, str]:
        return SUCCESS, ""

    def discard(self) -> None:
        self.data_set.clear()


class Association:
    """From a connection to its end, in one thread."""

    def __init__(
        self,
        connection: Connection,
        service: Service,
        limits: Limits,
        *,
        host: str,
        tls: ssl.SSLContext | None,
        tell: Callable[[bool], None],
    ) -> None:
        """`tell` is told True once the peer is let in, and False once its place is another's."""
        self.host = host
        self._tell = tell
        self.calling_ae_title = ""
        self._connection = connection
        self._service = service
        self._limits = limits
        self._tls = tls
        self._contexts: dict[int, Context] = {}
        self._maximum_length = 0
        self._report_at: float | None = None
        self._is_guest = False

    def run(self) -> None:
        """Serve until the association ends, whoever ends it; never raises for what a peer does."""
        try:
            if self._open():
                self._serve()
        except Exception as error:  # noqa: BLE001 - the edge: what goes wrong here ends one association, with an answer
            self._end("aborted", f"an error of ours: {describe_error(error)}", logging.ERROR)
            self._connection.say_goodbye(encode_abort(BY_PROVIDER, NOT_SPECIFIED))
        finally:
            self._end("aborted")
            self._connection.close()

    def _open(self) -> bool:
        """Shake hands and negotiate; True: the association is established."""
        began_at = time.monotonic()
        try:
            if self._tls is not None:
                self._connection.start_tls(self._tls, self._limits.acse_seconds)
            by = began_at + self._limits.acse_seconds
            kind, body = self._connection.read_pdu(first_byte_by=by, whole_within_seconds=0)
            return kind != ABORT and self._answer_request(_decode_request(kind, body))
        except ssl.SSLError as error:
            _logger.warning("connection refused: %s host=%s reason=%s", _tell_lack(error), self.host, error.reason)
        except ConnectionOverError as error:
            _logger.info("connection closed before an association host=%s: it %s", self.host, error)
        except (WrongPDUError, MalformedPDUError) as error:
            _logger.warning("connection closed before an association host=%s: %s", self.host, error)
            reason = error.reason if isinstance(error, WrongPDUError) else INVALID_PARAMETER
            self._connection.say_goodbye(encode_abort(BY_PROVIDER, reason))
        return False

    def _answer_request(self, request: AssociationRequest) -> bool:
        self.calling_ae_title = request.calling_ae_title
        answer = self._service.admit(self, request)
        if isinstance(answer, Rejected):
            self._connection.say_goodbye(encode_reject(answer.result, answer.source, answer.reason))
            return False
        self._is_guest = True
        self._tell(True)
        abstract_syntaxes = {context.context_id: context.abstract_syntax for context in request.contexts}
        self._contexts = {
            result.context_id: Context(result.context_id, abstract_syntaxes[result.context_id], result.transfer_syntax)
            for result in answer.results
            if result.result == ACCEPTED
        }
        self._maximum_length = request.maximum_length
        self._connection.send(
            encode_accept(
                request,
                answer.results,
                answer.roles,
                implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            )
        )
        return True

    def _serve(self) -> None:
        """Answer messages until the association ends."""
        try:
            while self._serve_message():
                pass
        except StoppingError:
            self._end("aborted")
            self._connection.say_goodbye(encode_abort(BY_USER, NOT_SPECIFIED))
        except ConnectionOverError as error:
            self._end("aborted", f"the peer {error}", logging.INFO)
            self._connection.say_goodbye(encode_abort(BY_PROVIDER, NOT_SPECIFIED))
        except (WrongPDUError, MalformedPDUError, MalformedCommandError) as error:
            self._end("aborted", f"the peer has sent what is not DICOM: {error}")
            reason = error.reason if isinstance(error, WrongPDUError) else INVALID_PARAMETER
            self._connection.say_goodbye(encode_abort(BY_PROVIDER, reason))

    def _end(self, how: str, why: str = "", level: int = logging.WARNING) -> None:
        if why:
            _logger.log(
                level, "association ends calling_ae_title=%s host=%s: %s", self.calling_ae_title, self.host, why
            )
        if self._is_guest:
            self._is_guest = False
            self._tell(False)
            self._service.leave(self)
            self._service.conclude(self, how)

    def _serve_message(self) -> bool:
        """Take one whole message and answer it; False: the association was released or aborted by the peer."""
        message: _Message | None = None
        try:
            while True:
                if message is None:
                    self._await_next()
                now = time.monotonic()
                by = now + self._limits.network_seconds
                if message is not None:
                    by = min(by, message.is_due_by)
                kind, body = self._connection.read_pdu(
                    first_byte_by=by, whole_within_seconds=self._limits.network_seconds
                )
                if kind != DATA:
                    return self._take_leave(kind)
                message = message or _Message(self, now + self._limits.dimse_seconds)
                for context_id, control, fragment in split_data(body):
                    if message.is_whole:  # two messages in one PDU
                        message.answer()
                        message = _Message(self, now + self._limits.dimse_seconds)
                    message.take(context_id, control, fragment)
                if message.is_whole:
                    message.answer()
                    return True
        finally:
            if message is not None:
                message.discard()

    def _await_next(self) -> None:
        """Between two messages: send the report that is owed as soon as it is due."""
        if self._report_at is None:
            return
        if self._connection.wait(self._report_at):
            return  # the peer goes first; its message is answered, then there is another wait
        self._report_at = None
        report = self._service.owed_report(self)
        if report is not None:
            command = encode_event_report(1, report.sop_class_uid, report.sop_instance_uid, report.event_type)
            context_id = report.context.context_id
            self._connection.send(encode_message(context_id, command, report.data_set, self._maximum_length))

    def _take_leave(self, kind: int) -> bool:
        if kind == RELEASE_REQUEST:
            self._end("released")  # before the answer, so that who calls again at once finds its place free
            self._connection.say_goodbye(encode_release_reply())
        elif kind == ABORT:
            self._end("aborted")
        else:
            raise WrongPDUError(UNEXPECTED_PDU, "a second association request")
        return False

    def _begin(self, command: Command, context: Context) -> Sink:
        return self._service.store(self, command, context) if command.field == C_STORE else _Questions()

    def _answer(self, command: Command, context: Context, sink: Sink) -> None:
        """The message is whole: do what it asks for."""
        status, comment = sink.finish()
        if command.field == C_CANCEL:  # there is never anything to cancel
            return
        if command.field & IS_ANSWER:
            if command.field == N_EVENT_REPORT | IS_ANSWER:
                self._service.report_answered(self, command.status)
                self._report_at = time.monotonic()  # the next one
            return
        if isinstance(sink, _Questions):
            data_set = bytes(sink.data_set)
            if command.field == N_ACTION:
                status = self._service.act(self, command, context, data_set)
                self._report_at = time.monotonic() + AFTER_THE_ANSWER_SECONDS
            elif command.field == N_EVENT_REPORT:
                status = self._service.take_report(context, data_set)
            elif command.field != C_ECHO:
                status = UNRECOGNIZED_OPERATION
        answer = encode_answer(command, status, comment)
        self._connection.send(encode_message(context.context_id, answer, None, self._maximum_length))


def _decode_request(kind: int, body: memoryview) -> AssociationRequest:
    if kind != ASSOCIATE_REQUEST:
        raise WrongPDUError(UNEXPECTED_PDU, "something else than an association request")
    return decode_association_request(bytes(body))


class _Message:
    """A message on its way in: first its command, then the data set that the command announces."""

    def __init__(self, association: Association, due_by: float) -> None:
        self._association = association
        self._due_by = due_by
        self._bytes = 0
        self._encoded_command = bytearray()
        self._context: Context | None = None
        self._command: Command | None = None
        self._sink: Sink | None = None
        self.is_whole = False

    @property
    def is_due_by(self) -> float:
        """The instant by which the rest has to come: what trickles never earns more time than it takes."""
        return self._due_by + self._bytes / SLOWEST_BYTES_PER_SECOND

    def take(self, context_id: int, control: int, fragment: memoryview) -> None:
        """Take the next fragment (PS3.8 E.2)."""
        self._bytes += len(fragment)
        if self._context is None:
            self._context = self._association._contexts.get(context_id)
            if self._context is None:
                raise WrongPDUError(INVALID_PARAMETER, "a message in a presentation context that was not accepted")
        if context_id != self._context.context_id:
            raise WrongPDUError(INVALID_PARAMETER, "a message in two presentation contexts")
        if bool(control & COMMAND_BIT) != (self._command is None):
            raise WrongPDUError(UNEXPECTED_PDU, "a command where a data set belongs, or the reverse")
        if self._command is None:
            self._take_command(control, fragment)
        elif self._sink is not None:
            self._sink.write(fragment)
            self.is_whole = bool(control & LAST_BIT)

    def _take_command(self, control: int, fragment: memoryview) -> None:
        if len(self._encoded_command) + len(fragment) > LONGEST_COMMAND_BYTES:
            raise MalformedCommandError("a command of absurd length")
        self._encoded_command += fragment
        if control & LAST_BIT and self._context is not None:
            self._command = decode_command(bytes(self._encoded_command))
            self._sink = self._association._begin(self._command, self._context)
            self.is_whole = not self._command.has_data_set

    def answer(self) -> None:
        """Do what the whole message asks for, and answer it."""
        if self._command is not None and self._context is not None and self._sink is not None:
            sink, self._sink = self._sink, None
            self._association._answer(self._command, self._context, sink)

    def discard(self) -> None:
        """Leave nothing behind of a message that has not become whole."""
        if self._sink is not None:
            self._sink.discard()
