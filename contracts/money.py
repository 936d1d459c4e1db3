"""Money: exact decimals with an ISO 4217 code; minor units where sums must be zero to the cent."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from contracts.errors import ContractError

# ISO 4217 minor-unit exponents, by exponent: a bank's statement may be in any active currency.
_CURRENCIES_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN
        BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP
        GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT
        LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN
        NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
        SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES
        WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_UNIT_EXPONENT = {
    code: exponent for exponent, codes in _CURRENCIES_BY_EXPONENT.items() for code in codes.split()
}
# What fits 64 bits with room for sums.
MINOR_UNIT_DIGITS_MAX = 18


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
                remedy="use an active ISO 4217 code, or add it to contracts/money.py",
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
    def exact_minor_units(self) -> int:
        """The amount in minor units, refused where it has a fraction of one or needs over 64 bits.

        A bank's amount is a fact: to round it would make its statement not add up.
        """
        _, digits, exponent = self.amount.as_tuple()
        # What arithmetic would round, or ten characters could blow up to a billion digits.
        exact = len(digits) <= 28 and isinstance(exponent, int) and -28 <= exponent <= 18
        scaled = self.amount.scaleb(MINOR_UNIT_EXPONENT[self.currency]) if exact else Decimal("0.5")
        if scaled != scaled.to_integral_value() or abs(scaled) >= 10**MINOR_UNIT_DIGITS_MAX:
            raise ContractError(
                f"{self.amount} {self.currency} has a fraction of a minor unit, or more than "
                f"{MINOR_UNIT_DIGITS_MAX} digits.",
                remedy="ask the sender for an amount with the currency's decimals",
            )
        return int(scaled)

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
