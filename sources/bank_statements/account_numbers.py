"""Account numbers as banks write them: an IBAN without blanks, all others as they are."""

from __future__ import annotations

from stdnum import iban


def account_number(text: str) -> tuple[str, bool]:
    """Return an account's number and whether it is an IBAN with correct check digits."""
    number = text.strip()
    # Country rules (BBAN check digits) are left out: samples and test banks break them freely,
    # and a statement's account is looked up, not paid to.
    if iban.is_valid(number, check_country=False):
        return str(iban.compact(number)), True
    return number, False
