import dataclasses

from .._numbers import as_whole_number


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run keeps of its images. Losses and norms are always kept, one number a step.

    Attributes:
        every: Keep the image before update 0, `every`, 2 `every`, ... on the host; 0 keeps none.
            The image kept at step ``i`` is the one that ``losses[i]`` belongs to.
            A whole number, at least 0.
        best: Also keep the accepted image of the smallest loss, and make it the result's image.
            Optimizers without a line search do not end at their smallest loss.

    Example:
        >>> import plenoptax as plx
        >>> plx.Record(every=10, best=True)
        Record(every=10, best=True)
    """

    every: int = 0
    best: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "every", as_whole_number("every", self.every, at_least=0))


def as_record(record: Record | int | None) -> Record:
    """A record as it is; a number n as ``Record(every=n)``; None as a record of no images."""
    if record is None:
        return Record()
    return record if isinstance(record, Record) else Record(every=record)
