"""Redis as the broker: Kombu's transport, which forgets a hint that Redis is not there to have acknowledged.

A worker takes one hint at a time. Kombu's own keeps a hint that it could not
acknowledge in the worker's hand for ever, where Celery logs the failure and
goes on: after a restart of Redis at that moment the worker waits for nothing
any more. Redis itself hands the hint out again after the visibility timeout, and
one too many costs an empty look.
"""

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Lets go of a hint, whether or not Redis hears of it."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; raises what the connection raises."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # as Kombu has it
        finally:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # as Kombu has it

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Hand back or drop; raises what the connection raises."""
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]  # as Kombu has it
        finally:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # as Kombu has it


class Channel(redis.Channel):
    """Kombu's channel with the above."""

    QoS = QoS


class Transport(redis.Transport):
    """Kombu's transport with the channel above."""

    Channel = Channel
