"""What the documents say, held against what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import authapp
from authapp import errors, settings


def test_every_setting_is_in_the_example_at_its_default(root: Path):
    example = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (root / ".env.example").read_text(), re.MULTILINE))
    defaults = {setting.name: setting.default for setting in settings.SETTINGS}
    gunicorns = {"BIND", "WEB_CONCURRENCY"}
    assert set(example) == set(defaults) | gunicorns
    commented = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (root / ".env.example").read_text(), re.MULTILINE))
    for name, text in commented.items():
        if name not in gunicorns and defaults[name] is not None and defaults[name] != []:
            assert text.lower() == str(defaults[name]).lower(), name


def test_every_code_is_in_the_table_with_its_status(root: Path):
    table = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", (root / "docs/errors.md").read_text(), re.MULTILINE)
    ours = {(kind.code, str(kind.status)) for kind in errors.every_kind()}
    assert set(table) == ours
    assert len(table) == len(ours)


def test_the_readmes_host_application_runs(root: Path, tmp_path: Path):
    (program,) = re.findall(r"^```python\n(.*?)^```$", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    program += "\nclient = app.test_client()"
    program += "\naccount = {'email': 'alice@example.org', 'password': 'violet-tractor-19'}"
    program += "\nprint(client.get('/hello').status_code, client.post('/api/auth/register', json=account).status_code)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(root), "APP_ENV": "development"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout.strip(), done.returncode) == ("401 201", 0), done.stderr


def test_no_merge_has_left_its_marks(root: Path):
    pages = [*root.glob("*.md"), *(root / "docs").glob("*.md"), root / ".env.example", root / "deploy/nginx.conf"]
    marked = [page.name for page in pages if re.search("^(<{7}|={7}|>{7})( |$)", page.read_text(), re.MULTILINE)]
    assert marked == []


def test_every_link_between_the_documents_leads_somewhere(root: Path):
    for page in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_that_the_readme_names_exists(root: Path):
    from authapp.cli import group

    features = (root / "README.md").read_text().split("- **")
    line = next(line for line in features if "flask auth create-user" in line).partition("Each has")[0]
    named = set(re.findall(r"`(?:flask auth )?([a-z-]+)`", line))
    assert named == set(group.commands)


def test_the_algorithm_that_the_page_recommends_is_the_one_that_the_command_takes(root: Path):
    from authapp.cli import group

    (default,) = [param.default for param in group.commands["generate-keys"].params if param.name == "algorithm"]
    page = (root / "docs/tokens.md").read_text()
    assert f'algorithms=["{default}"]' in page
    assert f"Take `{default}`" in page


def test_the_page_about_browsers_agrees_with_the_error_codes_and_uses_one_name_for_this_machine(root: Path):
    page = (root / "docs/protect.md").read_text()
    (on_401,) = re.findall(r"^2\. \*\*On 401.*?(?=^3\.)", page, re.MULTILINE | re.DOTALL)
    assert "On `INVALID_CREDENTIALS`" in on_401
    (service,) = re.findall(r"service at `http://([^:`]+)", page)
    assert set(re.findall(r"CLIENT_ORIGIN=http://([^:`]+)", page)) == {service}


def test_newest_heading_of_the_changelog_is_this_version(root: Path):
    headings = re.findall(r"^## \[([^]]+)\]", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", authapp.__version__]


def test_where_things_are_names_every_module(root: Path):
    section = (root / "CONTRIBUTING.md").read_text().partition("## Where things are")[2].partition("\n## ")[0]
    named = {name.strip("/") for name in re.findall(r"`([a-z_0-9]+/?)`", section)}
    ours = {path.stem for path in (root / "authapp").glob("[a-z]*.py") if path.stem.isidentifier()} | {
        path.parent.name for path in (root / "authapp").glob("*/__init__.py")
    }
    assert ours - named <= {"__init__"}
