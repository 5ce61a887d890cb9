"""Forms that the box of the lab offers, and hypotheses in addresses."""

import pytest

from analysis.hypothesis import parse
from analysis.hypothesis.ranking import SIMPLE_HYPOTHESES
from dashboard.lab.hypothesis_box import FORMS, HELP, insert_form
from dashboard.shared.address import Address, AddressError
from dashboard.shared.lab_address import LabAddress


def test_what_the_page_offers_can_be_read() -> None:
    for form in [
        *SIMPLE_HYPOTHESES.values(),
        *(form for name, form in FORMS.items() if form[:1] not in "aonw"),
    ]:
        parse(form)
    for form, _ in HELP[:5]:
        parse(form)
    text = ""
    for name in ("pattern", "before", "or", "not", "tokens", "within", "source", "after"):
        text = insert_form(text, FORMS[name])
    assert text == (
        '/[0-9]+/ and before /,/ or not token " the" "The" within 5 of source "code_python" and after /\\n/'
    )
    parse(text)


def test_the_address_is_checked() -> None:
    kept = LabAddress("/a&b=c/", "where")
    assert LabAddress.parse(kept.params(Address("m", 0, 1))) == kept
    assert kept.params(Address("m", 0, 1, view="top"))["neuron"] == "1"
    for params in ({"hypothesis": "x" * 1001}, {"hypothesis": "a\0"}, {"part": "<b>"}):
        with pytest.raises(AddressError):
            LabAddress.parse(params)
