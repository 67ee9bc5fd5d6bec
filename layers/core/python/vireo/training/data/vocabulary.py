"""The vocabulary of models: their values of category, language, country and device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from vireo.catalogue.columns import Vocabulary
from vireo.catalogue.models import Video
from vireo.viewers.profile import Profile

_ISO_3166 = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ "
    "BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM "
    "DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS "
    "GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN "
    "KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ "
    "MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
    "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI "
    "VN VU WF WS YE YT ZA ZM ZW "
)


def vocabulary(
    videos: Sequence[Video], users: Mapping[str, Profile], wanted: pa.Table, minimum: int
) -> Vocabulary:
    """Values in alphabetical order that occur at least ``minimum`` times.

    Countries are all of ISO 3166 and any others that occur: a video that is blocked in a country
    must be so for its first viewer, too.
    """
    met = set(wanted.column("country").unique().to_pylist())
    met.update(p.country for p in users.values())
    for video in videos:
        met.update(video.countries_allowed or (), video.countries_blocked)
    return Vocabulary(
        categories=_frequent((v.category for v in videos), minimum),
        languages=_frequent(
            [*(v.language for v in videos), *(p.language for p in users.values())], minimum
        ),
        countries=tuple(sorted({*_ISO_3166.split(), *(c for c in met if c is not None)})),
        devices=_frequent(wanted.column("device").to_pylist(), minimum),
    )


def _frequent(values: Iterable[str | None], minimum: int) -> tuple[str, ...]:
    counts = Counter(v for v in values if v is not None)
    return tuple(sorted(v for v, n in counts.items() if n >= minimum))
