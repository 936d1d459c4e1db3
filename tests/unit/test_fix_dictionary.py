from pathlib import Path

import quickfix

from contracts.fix_dictionary import write_dictionary


def test_quickfix_takes_the_dictionary_and_finds_no_data_fields_in_it(tmp_path: Path) -> None:
    path = write_dictionary(tmp_path / "new")
    text = path.read_text()
    assert "type='DATA'" not in text
    assert "<field number='96' name='RawData' type='STRING' />" in text
    quickfix.DataDictionary(str(path))
