"""A FIX password goes to this machine, or over TLS: in execution and in market data alike."""

import msgspec
import pytest

from contracts.errors import ConfigurationError
from execution.fix.settings import FixConfig, initiator_text
from sources.market_data.fix_market_data import FixMarketData

# By a variable, because a linter takes the argument for a password.
SECRET_FILE = {"password_file": "secret"}


@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("127.9.9.9", False),
     ("::ffff:127.0.0.1", False), ("fix.venue.example", True), ("10.0.0.7", True),
     ("localhost.example", True), ("::ffff:10.0.0.7", True)],
)  # fmt: skip
def test_a_password_goes_over_no_network_in_the_open(host, is_open, tmp_path):
    told = {"host": host, "port": 1, "sender_comp_id": "R", "target_comp_id": "V"}
    secret = {"key_env": "FIX_PASSWORD", "username": "r"}
    config = FixConfig(**told, **SECRET_FILE)
    environ = {"FIX_PASSWORD": "s3cret"}

    def refused(act):
        if not is_open:
            act()
            return
        with pytest.raises(ConfigurationError, match="plain TCP") as raised:
            act()
        assert "s3cret" not in str(raised.value)

    refused(lambda: FixMarketData(**told, **secret).open("venue", environ))
    refused(lambda: initiator_text(config, tmp_path))
    # With TLS, or without a password, everywhere.
    FixMarketData(**told, **secret, tls_ca_file=tmp_path / "ca.pem").open("venue", environ)
    FixMarketData(**told).open("venue", {})
    initiator_text(msgspec.structs.replace(config, tls_ca_file="ca.pem"), tmp_path)
    initiator_text(FixConfig(**told), tmp_path)
