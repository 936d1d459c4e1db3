"""What people decided about which model serves, kept with its audit entry."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from domain.compliance.people import Action
from ops_store.compliance_store import ComplianceStore
from ops_store.connection import reading, writing
from ops_store.patience import patient
from ops_store.records import ModelDecision
from ops_store.tables_compliance import MODEL_DECISIONS

_TABLE = MODEL_DECISIONS.c


class ModelDecisionStore(ComplianceStore):
    """The models' part of the operations store."""

    @patient
    def decide_model(self, decision: ModelDecision) -> ModelDecision:
        """Keep a decision, and what the trail says of it, in one transaction.

        Raises
        ------
        PermissionDeniedError
            When the desk has people with roles, and this one may not.
        """
        with writing(self._engine) as connection:
            self._require(connection, Action.MODEL_PROMOTE, decision.decided_by)
            kept = msgspec.structs.replace(decision, decided_ns=self._clock.now_ns())
            last = connection.execute(sa.select(sa.func.max(_TABLE.number))).scalar()
            connection.execute(
                sa.insert(MODEL_DECISIONS).values(
                    number=(last or 0) + 1, **msgspec.structs.asdict(kept)
                )
            )
            said = msgspec.to_builtins(kept)
            self._note(
                connection, Action.MODEL_PROMOTE, kept.training_key, said, by=kept.decided_by
            )
            return kept

    @patient
    def model_decisions(self, horizon: int) -> list[ModelDecision]:
        """Return what holds for a horizon, by session: of two about one session the later."""
        query = (
            sa.select(MODEL_DECISIONS)
            .where(_TABLE.horizon_sessions == horizon)
            .order_by(_TABLE.number)
        )
        with reading(self._engine) as connection:
            found = [
                msgspec.convert(row, ModelDecision, from_attributes=True)
                for row in connection.execute(query)
            ]
        latest = {each.from_session: each for each in found}
        return [latest[day] for day in sorted(latest)]
