"""Detections of consecutive frames associated to tracks: the method of ByteTrack.

Source: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box",
ECCV 2022. Confident detections are matched first, by the IoU of their boxes with the predicted
boxes of the tracks; unconfident ones may only continue a track. A Kalman filter with constant
velocity predicts the boxes (Wojke et al., "Deep SORT", 2017: the state is centre, aspect ratio
and height; the noise is proportional to the height). Detections of different labels are never
matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Standard deviations as parts of the box's height, from Deep SORT.
_POSITION, _VELOCITY = 1 / 20, 1 / 160
_RATIO_NOISE, _RATIO_DRIFT, _RATIO_MEASURED = 1e-2, 1e-5, 1e-1  # of the aspect ratio, without unit


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationParams:
    """ByteTrack's parameters with its defaults. Scores and IoU are in [0, 1]."""

    high_score: float = 0.5  # a detection above it is matched first
    low_score: float = 0.1  # one below it is ignored
    new_track_score: float = 0.6  # only one above it starts a track
    first_similarity: float = 0.2  # least IoU times score with a confident detection
    second_iou: float = 0.5  # least IoU with an unconfident one
    unconfirmed_similarity: float = 0.3  # as the first, for the second detection of a track
    max_gap: int = 30  # frames without a detection after which a track ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One detection of a frame; ``index`` is the caller's own."""

    index: int
    label_id: int
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels
    score: float


class Associator:
    """Takes the detections of one frame after the other and tells the track of each."""

    def __init__(self, params: AssociationParams | None = None) -> None:
        self._params = params or AssociationParams()
        self._tracks: list[_Track] = []
        self._count = 0
        self._first_frame: int | None = None

    def feed(self, frame: int, detections: Sequence[Detection]) -> dict[int, int]:
        """Return the track number of each matched detection by its ``index``.

        ``frame`` ascends from call to call. A detection that is not in the result is part of no
        track: it is too unconfident and continues none.
        """
        params = self._params
        if self._first_frame is None:
            self._first_frame = frame
        known = [t for t in self._tracks if frame - t.seen_at <= params.max_gap]
        for track in known:
            track.predict(frame)
        high = [d for d in detections if d.score >= params.high_score]
        low = [d for d in detections if params.low_score <= d.score < params.high_score]
        confirmed = [t for t in known if t.confirmed]
        found: dict[int, int] = {}
        open_tracks, open_high = self._match(confirmed, high, params.first_similarity, frame, found)
        present = [t for t in open_tracks if not t.lost]
        still_open, _ = self._match(present, low, params.second_iou, frame, found, by_score=False)
        fresh = [t for t in known if not t.confirmed]
        dropped, open_high = self._match(
            fresh, open_high, params.unconfirmed_similarity, frame, found
        )
        for track in still_open:
            track.lost = True
        begun = [d for d in open_high if d.score >= params.new_track_score]
        for detection in begun:
            found[detection.index] = self._count
            # ByteTrack confirms the tracks of the first frame at once.
            track = _Track(self._count, detection, frame, confirmed=frame == self._first_frame)
            known.append(track)
            self._count += 1
        self._tracks = [t for t in known if t not in dropped]
        return found

    def _match(
        self,
        tracks: Sequence[_Track],
        detections: Sequence[Detection],
        least: float,
        frame: int,
        found: dict[int, int],
        *,
        by_score: bool = True,
    ) -> tuple[list[_Track], list[Detection]]:
        """Match, update what is matched, and return the tracks and detections that are left."""
        pairs = _assign(tracks, detections, least, by_score=by_score)
        for row, column in pairs:
            tracks[row].update(detections[column], frame)
            found[detections[column].index] = tracks[row].number
        rows, columns = {row for row, _ in pairs}, {column for _, column in pairs}
        return (
            [track for i, track in enumerate(tracks) if i not in rows],
            [detection for i, detection in enumerate(detections) if i not in columns],
        )


class _Track:
    """A track with the filter of its box: four coordinates, each with a position and a velocity.

    Noise and transition couple a coordinate with its own velocity only, so the filter of eight
    dimensions is four independent filters of two.
    """

    def __init__(self, number: int, detection: Detection, frame: int, *, confirmed: bool) -> None:
        self.number = number
        self.label_id = detection.label_id
        self.confirmed = confirmed
        self.lost = False
        self.seen_at = self._now = frame
        self._position = _measured(detection.box)
        self._velocity = np.zeros(4)
        noise = _noise(self._position[3], 2 * _POSITION, _RATIO_NOISE) ** 2
        drift = _noise(self._position[3], 10 * _VELOCITY, _RATIO_DRIFT) ** 2
        # Covariance of each coordinate: of the position, of both, of the velocity.
        self._pp, self._pv, self._vv = noise, np.zeros(4), drift

    @property
    def box(self) -> NDArray[np.float64]:
        """Left, top, right, bottom as predicted or measured last."""
        x, y, ratio, height = self._position
        width = ratio * height
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])

    def predict(self, frame: int) -> None:
        """Move to a later frame by the constant velocity, one frame after the other."""
        for _ in range(frame - self._now):
            height = self._position[3]
            if self.lost:
                self._velocity[3] = 0.0  # a lost object keeps its size
            self._position = self._position + self._velocity
            self._pp = (
                self._pp + 2 * self._pv + self._vv + _noise(height, _POSITION, _RATIO_NOISE) ** 2
            )
            self._pv = self._pv + self._vv
            self._vv = self._vv + _noise(height, _VELOCITY, _RATIO_DRIFT) ** 2
        self._now = frame

    def update(self, detection: Detection, frame: int) -> None:
        """Correct the prediction by a detection."""
        innovation = _measured(detection.box) - self._position
        variance = self._pp + _noise(self._position[3], _POSITION, _RATIO_MEASURED) ** 2
        gain, velocity_gain = self._pp / variance, self._pv / variance
        self._position = self._position + gain * innovation
        self._velocity = self._velocity + velocity_gain * innovation
        self._vv = self._vv - velocity_gain * self._pv
        self._pp, self._pv = (1 - gain) * self._pp, (1 - gain) * self._pv
        self.confirmed, self.lost, self.seen_at = True, False, frame


def _measured(box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Centre, aspect ratio and height of a box."""
    left, top, right, bottom = box
    height = max(bottom - top, 1e-6)
    return np.array([(left + right) / 2, (top + bottom) / 2, (right - left) / height, height])


def _noise(height: float, part: float, ratio: float) -> NDArray[np.float64]:
    return np.array([part * height, part * height, ratio, part * height])


def best_pairs(
    one: NDArray[np.float64], two: NDArray[np.float64], same: NDArray[np.bool_], *, least_iou: float
) -> list[tuple[int, int, float]]:
    """Return pairs of indices of boxes with their IoU: those with the largest total IoU.

    Each has at least ``least_iou``. The shapes are (n, 4) and (m, 4). ``same`` of shape (n, m) says
    which boxes may be a pair.
    """
    if not len(one) or not len(two):
        return []
    iou = _iou(one, two)
    return [(row, column, float(iou[row, column])) for row, column in _pairs(iou, same, least_iou)]


def _assign(
    tracks: Sequence[_Track], detections: Sequence[Detection], least: float, *, by_score: bool
) -> list[tuple[int, int]]:
    """Return the pairs of indices with the largest total similarity, each at least ``least``.

    The similarity is the IoU, with ``by_score`` times the score of the detection.
    """
    if not tracks or not detections:
        return []
    similarity = _iou(
        np.array([track.box for track in tracks]),
        np.array([detection.box for detection in detections], dtype=np.float64),
    )
    same = np.equal.outer(_labels(tracks), _labels(detections))
    if by_score:
        similarity *= [detection.score for detection in detections]
    return _pairs(similarity, same, least)


def _pairs(
    similarity: NDArray[np.float64], same: NDArray[np.bool_], least: float
) -> list[tuple[int, int]]:
    # The import takes as long as those of all of Django, and most processes assign nothing.
    from scipy.optimize import linear_sum_assignment

    similarity[~same | (similarity < least)] = 0.0
    rows, columns = linear_sum_assignment(-similarity)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if similarity[row, column] > 0]


def _labels(items: Iterable[_Track | Detection]) -> NDArray[np.int64]:
    return np.array([item.label_id for item in items], dtype=np.int64)


def _iou(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes, shapes (n, 4) and (m, 4) to (n, m)."""
    corner = np.minimum(one[:, None, 2:], two[None, :, 2:])
    sides = np.clip(corner - np.maximum(one[:, None, :2], two[None, :, :2]), 0, None)
    inside = sides.prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (one, two)]
    union = areas[0][:, None] + areas[1][None, :] - inside
    iou: NDArray[np.float64] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return iou
