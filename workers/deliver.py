"""One claimed delivery: send it, or ask the destination whether it holds what was sent."""

from pathlib import Path

from pydicom.uid import generate_uid

from screener.commitment_answer import CommitmentAnswer
from screener.config import Destination
from screener.outcomes import TryAgain
from screener.store import OwedDelivery
from workers.bench import Bench
from workers.results.confirm_results import ask_commitment, find_results, read_identity
from workers.results.send_results import send_results


def destination_of(bench: Bench, delivery: OwedDelivery) -> Destination:
    """The delivery's destination as the settings name it now; TryAgain where they name it no more."""
    for destination in bench.config.results.destinations:
        if destination.name == delivery.destination:
            return destination
    raise TryAgain(f"the settings name no destination {delivery.destination} any more", code="no_destination")


def send(bench: Bench, delivery: OwedDelivery, destination: Destination) -> None:
    """Store every result of the delivery at its destination."""
    send_results(_files(bench, delivery), destination, calling_ae_title=bench.config.results.ae_title)


def confirm(bench: Bench, delivery: OwedDelivery, destination: Destination) -> str:
    """Ask the destination, in the way that the settings name, whether it holds every result.

    Returns the sentence that says what it does not hold, nothing where it
    holds all. Raises TryAgain where it gives no answer, or not yet.
    """
    files = _files(bench, delivery)
    if destination.confirm == "find":
        missing = find_results(files, destination, calling_ae_title=bench.config.results.ae_title)
        return f"C-FIND does not find {len(missing)} of {len(files)} object(s)" if missing else ""
    if destination.confirm == "commitment":
        answer = bench.store.commitment_answer(delivery) or _ask(bench, delivery, destination, files)
        return _describe_failures(files, answer)
    return ""


def _ask(bench: Bench, delivery: OwedDelivery, destination: Destination, files: list[Path]) -> CommitmentAnswer:
    transaction_uid = generate_uid(prefix=None)
    bench.store.commitment_asked(delivery, transaction_uid, bench.clock())
    answer = ask_commitment(
        files, destination, calling_ae_title=bench.config.results.ae_title, transaction_uid=transaction_uid
    )
    if answer is None:
        raise TryAgain("storage commitment was asked for, its report has not come yet", code="commitment_awaited")
    bench.store.commitment_answered(transaction_uid, answer, bench.clock())
    return answer


def _describe_failures(files: list[Path], answer: CommitmentAnswer) -> str:
    uids = [read_identity(path).sop_instance_uid for path in files]
    missing = [uid for uid in uids if uid not in answer.committed]
    if not missing:
        return ""
    reasons = sorted({f"0x{answer.failed[uid]:04X}" for uid in missing if uid in answer.failed})
    said = f" (failure reason {', '.join(reasons)})" if reasons else " (not mentioned in its report)"
    return f"it does not commit to {len(missing)} of {len(files)} object(s){said}"


def _files(bench: Bench, delivery: OwedDelivery) -> list[Path]:
    return [bench.archive.path(path) for path in delivery.paths]
