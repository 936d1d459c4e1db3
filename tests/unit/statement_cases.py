"""Small bank files, written here: camt in any version, and MT940."""

import hashlib

from sources.file_drops import RawDrop

IBAN = "DE89370400440532013000"


def drop(data, name="statement"):
    data = data.encode() if isinstance(data, str) else data
    return RawDrop("bank", name, hashlib.sha256(data).hexdigest(), data)


def balance(code, amount, mark="CRDT", currency="EUR", day="2010-08-20"):
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy='{currency}'>{amount}</Amt>"
        f"<CdtDbtInd>{mark}</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def entry(amount, mark="CRDT", *, reference="NOTPROVIDED", status="<Cd>BOOK</Cd>", currency="EUR",
          servicer="", reversal="", details=None, day="2010-08-20"):  # fmt: skip
    inner = details or (
        f"<TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs>"
        "<RltdPties><Dbtr><Pty><Nm>Debtor</Nm></Pty></Dbtr><Cdtr><Pty><Nm>Creditor</Nm></Pty></Cdtr>"
        "</RltdPties><RmtInf><Ustrd>Invoice 7</Ustrd></RmtInf></TxDtls>"
    )
    return (
        f"<Ntry><Amt Ccy='{currency}'>{amount}</Amt><CdtDbtInd>{mark}</CdtDbtInd>{reversal}"
        f"<Sts>{status}</Sts><BookgDt><Dt>{day}</Dt></BookgDt><ValDt><Dt>{day}</Dt></ValDt>"
        f"{servicer and f'<AcctSvcrRef>{servicer}</AcctSvcrRef>'}"
        f"<BkTxCd><Prtry><Cd>544</Cd></Prtry></BkTxCd><NtryDtls>{inner}</NtryDtls></Ntry>"
    )


def statement(*content, identity="S1", number=7, page="", account=IBAN):
    pages = (
        page and f"<StmtPgntn><PgNb>{page[0]}</PgNb><LastPgInd>{page[1]}</LastPgInd></StmtPgntn>"
    )
    return (
        f"<Stmt><Id>{identity}</Id>{pages}<ElctrncSeqNb>{number}</ElctrncSeqNb>"
        f"<CreDtTm>2010-08-20T18:00:00</CreDtTm><Acct><Id><IBAN>{account}</IBAN></Id>"
        f"<Ccy>EUR</Ccy></Acct>{''.join(content)}</Stmt>"
    )


def camt053(*statements, version="08", prolog=""):
    return (
        f"{prolog}<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}'>"
        "<BkToCstmrStmt><GrpHdr><MsgId>M</MsgId><CreDtTm>2010-08-20T18:00:00</CreDtTm></GrpHdr>"
        f"{''.join(statements)}</BkToCstmrStmt></Document>"
    )


def camt(kind, version):
    """Return one message of a kind with one entry, in the shape of the version."""
    number, message, part = {
        "intraday": (2, "BkToCstmrAcctRpt", "Rpt"),
        "statement": (3, "BkToCstmrStmt", "Stmt"),
        "notification": (4, "BkToCstmrDbtCdtNtfctn", "Ntfctn"),
    }[kind]
    chosen = version >= 7
    amount = "<Amt Ccy='EUR'>10.00</Amt>"
    signed = f"{amount}<CdtDbtInd>CRDT</CdtDbtInd>"
    within = f"<AmtDtls><TxAmt>{amount}</TxAmt></AmtDtls>" if version < 3 else signed
    payer = "<Pty><Nm>Payer</Nm></Pty>" if chosen else "<Nm>Payer</Nm>"
    details = (
        f"<TxDtls><Refs><EndToEndId>E1</EndToEndId></Refs>{within}"
        f"<RltdPties><Dbtr>{payer}</Dbtr></RltdPties></TxDtls>"
    )
    row = entry("10.00", status="<Cd>BOOK</Cd>" if chosen else "BOOK", details=details)
    balances = "" if number != 3 else balance("OPBD", "1.00") + balance("CLBD", "11.00")
    text = camt053(statement(balances, row))
    if version == 1:
        message += "V01"
        for name in ("NtryDtls", "CdOrPrtry"):
            text = text.replace(f"<{name}>", "").replace(f"</{name}>", "")
    text = text.replace("<Stmt>", f"<{part}>").replace("</Stmt>", f"</{part}>")
    text = text.replace("BkToCstmrStmt", message)
    return text.replace("camt.053.001.08", f"camt.05{number}.001.{version:02d}")


def mt940(*lines, number="7/1", opening="60F:C100819EUR100,00", closing="62F:C100820EUR90,50",
          account=IBAN):  # fmt: skip
    fields = [":20:REF", f":25:{account}", f":28C:{number}", f":{opening}", *lines, f":{closing}"]
    return "\r\n".join([*fields, "-"]) + "\r\n"
