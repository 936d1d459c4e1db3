from docs.configuration_reference import PAGE, reference
from orchestration.base.settings import Settings


def test_the_page_is_what_the_settings_say():
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "run `python -m docs.configuration_reference` and commit the page"
    )


def test_every_setting_says_what_it_decides():
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_no_secret_is_shown(tmp_path):
    settings = Settings(home=tmp_path, postgres_url="postgresql://u:s3cret@/db")
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert "s3cret" in settings.ops_url
