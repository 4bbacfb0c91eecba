"""What one peer is to get of one scene, and what it has of it already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import HdmError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.output.deliveries import Delivered, Delivery
from hdm_pipeline.output.ledger import SceneRecord
from hdm_pipeline.planning.routes import Route

_GONE = SendAnswer("refused", "a product is no longer where it was published", "run again: the scene is done anew")


@dataclass(frozen=True)
class Parcel:
    """The files of one scene for one peer.

    Attributes:
        scene: id of the scene.
        product_key: see `Delivery`.
        products: that the peer is to get, sorted.
        files: (product, name relative to the output directory), the products' main files first.
    """

    scene: str
    product_key: str
    products: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


def parcel_of(record: SceneRecord, route: Route) -> Parcel | None:
    """What a peer is to get of a scene that is done; None where there is nothing for it."""
    made: Mapping[str, Sequence[str]] = record.info.get("products", {})
    products = tuple(name for name in route.products if made.get(name))
    files = tuple((name, file) for name in products for file in made[name])
    return Parcel(record.id, record.product_key, products, files) if files else None


def is_settled(parcel: Parcel, known: Delivery | None) -> bool:
    """Whether a peer holds all of a parcel; tells by keys, reads no file."""
    if known is None or not known.complete or known.product_key != parcel.product_key:
        return False
    return set(parcel.products) <= set(known.products)


@dataclass
class Progress:
    """A parcel that is being sent: which files are left, and what was answered.

    Attributes:
        delivery: as the ledger is to remember it.
        left: names of files that the peer may lack, with their product and hash.
        failed: the answer for each file of `left` that was tried.
        already: files that earlier runs sent, byte for byte.
        broken: the sender's plug-in failed on this parcel: of others nothing follows from that.
    """

    delivery: Delivery
    left: dict[str, tuple[str, str]] = field(default_factory=dict)
    failed: dict[str, SendAnswer] = field(default_factory=dict)
    already: int = 0
    broken: bool = False

    @classmethod
    def begin(cls, parcel: Parcel, route: Route, root: Path, known: Delivery | None) -> Progress:
        """Look at the files: which can be sent, and which of them the peer holds already.

        Raises:
            HdmError: the sender's plug-in fails.
        """
        receipts = {} if known is None else known.receipts
        found = cls(Delivery(route.to, parcel.scene, parcel.product_key, parcel.products))
        kept: dict[str, Delivered] = {}
        mains = dict(reversed(parcel.files))
        for product, name in parcel.files:
            try:
                # A product's other files (a table beside a report) go along where they can.
                must = product in route.named and mains[product] == name
                if not must and not route.sender.fits(root / name):
                    continue
                digest = file_hash(root / name)
            except OSError:
                found.left[name] = (product, "")
                found.failed[name] = _GONE
                continue
            if name in receipts and receipts[name].sha256 == digest:
                kept[name] = receipts[name]
                found.already += 1
            else:
                found.left[name] = (product, digest)
        found.delivery = replace(found.delivery, receipts=kept)
        return found

    def to_send(self) -> list[str]:
        """Names of files to try: those not tried yet, and those for which trying again may help."""
        return [name for name in self.left if name not in self.failed or self.failed[name].again]

    def answered(self, names: Sequence[str], answers: Sequence[SendAnswer]) -> None:
        """Note what the peer answered for these files."""
        receipts = dict(self.delivery.receipts)
        for name, answer in zip(names, answers, strict=True):
            product, digest = self.left[name]
            if answer.outcome == "stored":
                receipts[name] = Delivered(product, digest, answer.what)
                del self.left[name]
                self.failed.pop(name, None)
            else:
                self.failed[name] = answer
        self.delivery = replace(self.delivery, receipts=receipts)

    def failing(self, names: Sequence[str], error: HdmError) -> None:
        """Note that the plug-in failed on these files: they are left to the next run."""
        self.broken = True
        self.failed |= dict.fromkeys(names, SendAnswer("refused", error.what, error.remedy))

    @property
    def unavailable(self) -> SendAnswer | None:
        """The answer that says that the peer takes nothing now, if there was one."""
        return next((answer for answer in self.failed.values() if answer.outcome == "unavailable"), None)

    def ended(self) -> Delivery:
        """The delivery as it is to be remembered now."""
        if not self.left:
            return replace(self.delivery, complete=True)
        answer = next(iter(self.failed.values()), None)
        error = None if answer is None else {"what": answer.what, "remedy": answer.remedy}
        return replace(self.delivery, error=error)
