"""Payments as banks take them: pain.001.001.09, the customer credit transfer of ISO 20022."""

from __future__ import annotations

from pyiso20022.pain import pain_001_001_09 as pain
from xsdata.formats.dataclass.serializers import XmlSerializer
from xsdata.models.datatype import XmlDate, XmlDateTime

from domain.cash_management.payments import Party, Payment, PaymentBatch

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_SERIALIZER = XmlSerializer()


def pain_001(batch: PaymentBatch) -> bytes:
    """Write a batch as one message; equal batches give equal bytes."""
    count = str(len(batch.payments))
    header = pain.GroupHeader85(
        msg_id=batch.message_id,
        cre_dt_tm=XmlDateTime.from_datetime(batch.created),
        nb_of_txs=count,
        ctrl_sum=batch.control_sum,
        initg_pty=pain.PartyIdentification135(nm=batch.debtor.name),
    )
    service = pain.PaymentTypeInformation26(svc_lvl=[pain.ServiceLevel8Choice(cd="SEPA")])
    bearer = pain.ChargeBearerType1Code
    information = pain.PaymentInstruction30(
        pmt_inf_id=batch.message_id,
        pmt_mtd=pain.PaymentMethod3Code.TRF,
        # Each payment is an entry of its own on the statement, where it is to be matched.
        btch_bookg=False,
        nb_of_txs=count,
        ctrl_sum=batch.control_sum,
        pmt_tp_inf=service if batch.is_sepa else None,
        reqd_exctn_dt=pain.DateAndDateTime2Choice(dt=XmlDate.from_date(batch.execution_date)),
        dbtr=_identification(batch.debtor),
        dbtr_acct=_account(batch.debtor),
        dbtr_agt=_agent(batch.debtor),
        chrg_br=bearer.SLEV if batch.is_sepa else bearer.SHAR,
        cdt_trf_tx_inf=[_transaction(payment) for payment in batch.payments],
    )
    message = pain.CustomerCreditTransferInitiationV09(grp_hdr=header, pmt_inf=[information])
    document = pain.Document(cstmr_cdt_trf_initn=message)
    return _SERIALIZER.render(document, ns_map={None: NAMESPACE}).encode()


def _transaction(payment: Payment) -> pain.CreditTransferTransaction34:
    amount = pain.ActiveOrHistoricCurrencyAndAmount(
        value=payment.amount, ccy=payment.withdrawal.currency
    )
    creditor = payment.creditor
    named = creditor.bic or creditor.routing_number
    return pain.CreditTransferTransaction34(
        pmt_id=pain.PaymentIdentification6(
            instr_id=payment.end_to_end_id, end_to_end_id=payment.end_to_end_id
        ),
        amt=pain.AmountType4Choice(instd_amt=amount),
        cdtr_agt=_agent(creditor) if named else None,
        cdtr=_identification(creditor),
        cdtr_acct=_account(creditor),
        rmt_inf=pain.RemittanceInformation16(ustrd=[payment.remittance]),
    )


def _identification(party: Party) -> pain.PartyIdentification135:
    address = None
    if party.town or party.country:
        address = pain.PostalAddress24(twn_nm=party.town or None, ctry=party.country or None)
    return pain.PartyIdentification135(nm=party.name, pstl_adr=address)


def _account(party: Party) -> pain.CashAccount38:
    other = pain.GenericAccountIdentification1(id=party.account)
    number = (
        pain.AccountIdentification4Choice(iban=party.account)
        if party.is_iban
        else pain.AccountIdentification4Choice(othr=other)
    )
    return pain.CashAccount38(id=number)


def _agent(party: Party) -> pain.BranchAndFinancialInstitutionIdentification6:
    member = pain.ClearingSystemMemberIdentification2(
        clr_sys_id=pain.ClearingSystemIdentification2Choice(cd="USABA"), mmb_id=party.routing_number
    )
    # EPC's guidelines want NOTPROVIDED where the IBAN alone says which bank it is.
    unnamed = pain.GenericFinancialIdentification1(id="NOTPROVIDED")
    return pain.BranchAndFinancialInstitutionIdentification6(
        fin_instn_id=pain.FinancialInstitutionIdentification18(
            bicfi=party.bic or None,
            clr_sys_mmb_id=member if party.routing_number else None,
            othr=None if party.bic or party.routing_number else unnamed,
        )
    )
