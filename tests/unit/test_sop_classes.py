"""Each SOP class has the UID that the Standard's keyword stands for."""

import pytest
from pydicom import uid

from screener.sop_classes import KEYWORDS, ULTRASOUND_RETIRED


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_a_keyword_has_the_uid_of_the_standard(keyword: str) -> None:
    if keyword in ULTRASOUND_RETIRED:  # pydicom gives them no name of their own
        assert (uid.UID(KEYWORDS[keyword]).keyword, uid.UID(KEYWORDS[keyword]).is_retired) == (keyword, True)
    else:
        assert getattr(uid, keyword) == KEYWORDS[keyword]
