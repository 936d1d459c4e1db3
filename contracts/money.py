"""Money: exact decimals with an ISO 4217 code; minor units where sums must be zero to the cent."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from contracts.errors import ContractError

# ISO 4217 minor-unit exponents of the currencies the platform books so far.
MINOR_UNIT_EXPONENT = {"USD": 2, "EUR": 2, "GBP": 2, "CHF": 2, "JPY": 0}


class Money(msgspec.Struct, frozen=True, order=False):
    """An exact amount of one currency.

    Arithmetic between currencies raises ``ContractError``; there is no implicit conversion.
    """

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        """Refuse unknown currencies and amounts that are not finite."""
        if self.currency not in MINOR_UNIT_EXPONENT:
            raise ContractError(
                f"Unknown currency {self.currency!r}.",
                remedy=f"use one of {sorted(MINOR_UNIT_EXPONENT)} or add its ISO 4217 exponent",
            )
        if not self.amount.is_finite():
            raise ContractError(
                f"Amount {self.amount} is not finite.", remedy="pass a finite decimal"
            )

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ContractError(
                f"Cannot combine {self.currency} with {other.currency}.",
                remedy="book a foreign-exchange transfer with its rate",
            )

    def __add__(self, other: Money) -> Money:
        """Add an amount of the same currency."""
        self._same(other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        """Subtract an amount of the same currency."""
        self._same(other)
        return Money(self.amount - other.amount, self.currency)

    def __neg__(self) -> Money:
        """Return the opposite amount."""
        return Money(-self.amount, self.currency)

    @property
    def minor_units(self) -> int:
        """The amount in the currency's minor units, rounded half to even."""
        scaled = self.amount.scaleb(MINOR_UNIT_EXPONENT[self.currency])
        return int(scaled.to_integral_value(rounding=ROUND_HALF_EVEN))

    @classmethod
    def from_minor_units(cls, units: int, currency: str) -> Money:
        """Return ``units`` minor units of ``currency`` as money."""
        exponent = MINOR_UNIT_EXPONENT.get(currency, 0)
        return cls(Decimal(units).scaleb(-exponent), currency)
