"""The desk's rules as data: a versioned, effective-dated set, read from TOML.

Money is in units of the set's currency, weights in basis points of net asset value, quantities in
lots (one lot is one share). What a rule does is said by ``limits``; who applies it, by ``engine``.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from contracts.clock import datetime_ns
from contracts.codec import to_json
from domain.compliance.errors import RuleSetError

TICKS_PER_UNIT = 10_000
BPS = 10_000
NAME_CHARS_MAX = 64


class Stage(enum.StrEnum):
    """When rules are applied: on a decision of the book, and again before an order leaves."""

    DECISION = "decision"
    WIRE = "wire"


BOTH = (Stage.DECISION, Stage.WIRE)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of all rules.

    Parameters
    ----------
    rule_id : str
        Its name on verdicts; unique in its set.
    outcome : {"block", "warn"}
        What a breach is worth.
    at : tuple of Stage
        Where it is applied. A rule whose facts exist at one stage only belongs to that stage:
        at the other one it would block everything, by the name of the missing fact.
    note : str
        Why it exists, e.g. the regulation.
    """

    rule_id: str
    outcome: Literal["block", "warn"] = "block"
    at: tuple[Stage, ...] = BOTH
    note: str = ""


class RestrictedList(Rule, frozen=True, kw_only=True, tag="restricted_list"):
    """Instruments that must not be traded; ``allow_reducing`` lets holdings be brought down."""

    instruments: frozenset[str]
    allow_reducing: bool = False


class WatchList(Rule, frozen=True, kw_only=True, tag="watch_list"):
    """Instruments whose orders are noted."""

    instruments: frozenset[str]
    outcome: Literal["block", "warn"] = "warn"


class OrderSize(Rule, frozen=True, kw_only=True, tag="order_size"):
    """An order has at least one lot and at most ``lots_max``."""

    lots_max: int


class OrderNotional(Rule, frozen=True, kw_only=True, tag="order_notional"):
    """Quantity times limit price is above zero and at most ``notional_max``."""

    notional_max: Decimal


class PriceCollar(Rule, frozen=True, kw_only=True, tag="price_collar"):
    """The limit price is at most ``bps_max`` away from the reference price."""

    bps_max: int


class OpenOrders(Rule, frozen=True, kw_only=True, tag="open_orders"):
    """Fewer than ``orders_max`` orders are open."""

    orders_max: int


class DailyOrders(Rule, frozen=True, kw_only=True, tag="daily_orders"):
    """Fewer than ``orders_max`` orders were sent in the session, over the whole market."""

    orders_max: int


class DailyTurnover(Rule, frozen=True, kw_only=True, tag="daily_turnover"):
    """Notional sent in the session, this order included, is at most ``notional_max``."""

    notional_max: Decimal


class BestExecution(Rule, frozen=True, kw_only=True, tag="best_execution"):
    """An order carries evidence of the market it was decided on.

    ``needs`` names fields of the intent: all of them must be there.
    """

    needs: tuple[Literal["arrival_ticks", "quote_id", "bar_id"], ...] = ("arrival_ticks",)


class WashTrade(Rule, frozen=True, kw_only=True, tag="wash_trade"):
    """No order against an open order of our own, nor against our own fill within ``window_s``."""

    window_s: int = 0


class PersonalAccount(Rule, frozen=True, kw_only=True, tag="personal_account"):
    """An employee's own order: pre-cleared, and never against a trade of the holding period."""

    holding_days_min: int
    pre_clearance: bool = True


class ShortSale(Rule, frozen=True, kw_only=True, tag="short_sale"):
    """A sale of shares that are not held needs a locate: enough, in time, of this instrument.

    Regulation SHO, 17 CFR 242.203(b)(1). With ``allowed`` false there are no short sales at all.
    """

    allowed: bool = True


class PositionLimit(Rule, frozen=True, kw_only=True, tag="position_limit"):
    """The worst case of a position, open orders included, in lots or in money."""

    lots_max: int | None = None
    notional_max: Decimal | None = None


class NameConcentration(Rule, frozen=True, kw_only=True, tag="name_concentration"):
    """One instrument's exposure as a part of net asset value."""

    weight_max_bps: int


class SectorConcentration(Rule, frozen=True, kw_only=True, tag="sector_concentration"):
    """One sector's gross exposure as a part of net asset value."""

    weight_max_bps: int


class GrossLeverage(Rule, frozen=True, kw_only=True, tag="gross_leverage"):
    """The sum of all absolute exposures, in money or as a part of net asset value."""

    notional_max: Decimal | None = None
    weight_max_bps: int | None = None


class NetLeverage(Rule, frozen=True, kw_only=True, tag="net_leverage"):
    """Long less short exposure, by its size, in money or as a part of net asset value."""

    notional_max: Decimal | None = None
    weight_max_bps: int | None = None


class ReportingThreshold(Rule, frozen=True, kw_only=True, tag="reporting_threshold"):
    """A holding reaches a part of the shares outstanding that must be reported.

    E.g. 500 bps, section 13(d) of the Exchange Act, long; 50 bps, Regulation (EU) 236/2012, short.
    """

    threshold_bps: int = 500
    side: Literal["long", "short"] = "long"
    outcome: Literal["block", "warn"] = "warn"


AnyRule = (
    RestrictedList
    | WatchList
    | OrderSize
    | OrderNotional
    | PriceCollar
    | OpenOrders
    | DailyOrders
    | DailyTurnover
    | BestExecution
    | WashTrade
    | PersonalAccount
    | ShortSale
    | PositionLimit
    | NameConcentration
    | SectorConcentration
    | GrossLeverage
    | NetLeverage
    | ReportingThreshold
)


class RuleSet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rules that apply together, from an instant on.

    Raises
    ------
    RuleSetError
        When two rules share an id, a limit is not a positive number, a rule limits nothing, a name
        or id is empty, too long or not printable, or the instant has no UTC offset.
    """

    name: str
    effective: dt.datetime
    rules: tuple[AnyRule, ...]
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.effective.utcoffset() is None:
            raise RuleSetError(
                f"effective={self.effective} has no UTC offset.",
                remedy="write e.g. 2010-08-19T00:00:00Z",
            )
        for name in (self.name, *(rule.rule_id for rule in self.rules)):
            if len(name) > NAME_CHARS_MAX or not name.isprintable() or not self.name:
                raise RuleSetError(
                    f"{name[:NAME_CHARS_MAX]!r} is no name for a rule set or a rule.",
                    remedy=f"write 1 to {NAME_CHARS_MAX} printable characters",
                )
        seen: set[str] = set()
        for rule in self.rules:
            if not rule.rule_id or rule.rule_id in seen:
                raise RuleSetError(
                    f"Rule id {rule.rule_id!r} is empty or used twice.",
                    remedy="give each rule an id of its own: verdicts are named by it",
                )
            seen.add(rule.rule_id)
            _require_limits(rule)

    @property
    def effective_ns(self) -> int:
        """The instant from which it applies, in nanoseconds, UTC."""
        return datetime_ns(self.effective)

    @property
    def version(self) -> str:
        """SHA-256 of its deterministic JSON: what a rule change's approval is bound to."""
        return hashlib.sha256(to_json(self)).hexdigest()


def _require_limits(rule: AnyRule) -> None:
    limits = {
        name: getattr(rule, name)
        for name in rule.__struct_fields__
        if name.endswith(("_max", "_bps", "_s", "_min"))
    }
    wrong = {
        name: value
        for name, value in limits.items()
        if value is not None and (value < 0 or (isinstance(value, Decimal) and value.is_infinite()))
    }
    if wrong or (limits and all(value is None for value in limits.values())):
        raise RuleSetError(
            f"Rule {rule.rule_id!r} has limits {wrong or limits}.",
            remedy="give it at least one limit, none below zero",
        )
    if not rule.at or (isinstance(rule, BestExecution) and not rule.needs):
        raise RuleSetError(
            f"Rule {rule.rule_id!r} applies nowhere, or asks for nothing.",
            remedy="leave `at` and `needs` out for their defaults",
        )


def read_rules(text: str) -> RuleSet:
    """Return the rule set of a TOML document; see docs/compliance-rules.md.

    Raises
    ------
    RuleSetError
        When it is no TOML, has an unknown kind or field, or contradicts itself.
    """
    try:
        return msgspec.toml.decode(text, type=RuleSet)
    except (msgspec.DecodeError, ValueError, ArithmeticError) as error:
        raise RuleSetError(
            f"Not a valid rule set: {error}.", remedy="see docs/compliance-rules.md"
        ) from error


def require_currency(rule_set: RuleSet, currency: str) -> None:
    """Refuse a rule set whose money is of another currency: its limits would mean something else.

    Raises
    ------
    RuleSetError
        Naming both.
    """
    if rule_set.currency != currency:
        raise RuleSetError(
            f"Rule set {rule_set.name!r} is in {rule_set.currency}, the book in {currency}.",
            remedy=f'write currency = "{currency}", and its amounts in it',
        )


def in_force(rule_sets: Iterable[RuleSet], at_ns: int) -> RuleSet | None:
    """Return the set that applies at an instant: the one that began last; None before the first.

    Of two that begin at the same instant, the one that was stored later, i.e. the last, applies.
    """
    begun = [one for one in rule_sets if one.effective_ns <= at_ns]
    latest = max((one.effective_ns for one in begun), default=None)
    return next((one for one in reversed(begun) if one.effective_ns == latest), None)


def ticks(money: Decimal) -> int:
    """Return money as ticks of 1e-4, rounded towards zero."""
    return int(money * TICKS_PER_UNIT)
