import re
from pathlib import Path

import pytest
import yaml

from ssim_ae import zoo_config
from ssim_ae.config import Settings
from ssim_ae.config_files import PRESETS, load_settings, save_settings
from ssim_ae.errors import SettingsError

CONFIGS = Path(__file__).parents[1] / "configs"
ZOO = yaml.safe_load((CONFIGS / "texture_1.yaml").read_text())


def zoo_file(tmp_path: Path, **values: object) -> Path:
    file = tmp_path / "zoo.yaml"
    file.write_text(yaml.safe_dump({**ZOO, **values}))
    return file


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    settings, notes = load_settings(name)
    assert notes == []
    save_settings(settings, tmp_path / "config.yaml", "1.2.3")
    assert load_settings(file=tmp_path / "config.yaml") == (settings, [])
    assert "1.2.3" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("file", "preset"), [("texture_1", "reference-texture"), ("texture_2", "reference-texture")]
)
def test_texture_configs_equal_the_preset(file: str, preset: str) -> None:
    from_zoo, _ = load_settings(file=CONFIGS / f"{file}.yaml")
    ours, _ = load_settings(preset, changes={"device": "cpu"})
    assert from_zoo == ours


def test_reference_object_settings() -> None:
    nut, _ = load_settings(file=CONFIGS / "metal_nut.yaml")
    assert (nut.resize, nut.centre_crop, nut.tile, nut.latent) == (266, 256, 256, 500)
    assert (nut.color, nut.steps, nut.batch_size) == ("rgb", 200 * (10000 // 128), 128)
    assert (nut.learning_rate, nut.weight_decay, nut.stride) == (2e-4, 1e-5, 32)
    assert nut.augment.p_rotate == nut.augment.p_vertical_flip == 0
    assert nut.zoo is not None
    assert nut.zoo.percent == 75


def test_every_zoo_key_acts_or_is_answered(tmp_path: Path) -> None:
    values = dict.fromkeys(zoo_config.ANSWERED, "given")
    values |= {
        "device_target": "Ascend",
        "ssim_threshold": 0.4,
        "l1_threshold": 0.3,
        "p_ratate": 0.7,
    }
    settings, notes = load_settings(file=zoo_file(tmp_path, **values, do_aug=True, bg_mask="W"))
    for key in zoo_config.ANSWERED:
        assert any(note.startswith(f"{key}: ") for note in notes), key
    assert all("\n" not in note for note in notes)
    assert settings.zoo is not None
    assert (settings.zoo.ssim_threshold, settings.zoo.l1_threshold) == (0.4, 0.3)
    assert settings.zoo.bg_mask == "W"
    assert settings.device == "auto"
    listed = (
        "grayscale do_aug data_augment augment_num im_resize crop_size rotate_angle p_rotate "
        "p_ratate p_horizontal_flip p_vertical_flip z_dim epochs batch_size lr decay flc stride "
        "ssim_threshold l1_threshold percent bg_mask image_level device_target distribute "
        "model_arts data_url train_url checkpoint_url checkpoint_path chcekpoint_path ckpt_file "
        "load_ckpt_path"
    )
    assert set(listed.split()) <= zoo_config.KEYS


def test_flat_zoo_file_with_help_documents_and_the_misspelt_key(tmp_path: Path) -> None:
    flat = {k: v for k, v in ZOO.items() if k != "data_augment"} | ZOO["data_augment"]
    flat["p_ratate"] = flat.pop("p_rotate") / 2
    file = tmp_path / "zoo.yaml"
    file.write_text(yaml.safe_dump(flat) + "---\nlr: 'Learning rate when training.'\n")
    settings, _ = load_settings(file=file)
    assert settings.augment.p_rotate == 0.15
    assert settings.augment.rotate_angle == 45


def test_a_crop_alone_keeps_the_zoo_s_picture_size(tmp_path: Path) -> None:
    file = tmp_path / "zoo.yaml"
    file.write_text("crop_size: 256\n")
    settings, notes = load_settings(file=file)
    assert (settings.resize, settings.centre_crop, settings.tile) == (256, None, 256)
    assert notes[0].endswith("read as the zoo's settings, on preset reference-object")


def test_do_aug_false_switches_augmentation_off(tmp_path: Path) -> None:
    settings, notes = load_settings(file=zoo_file(tmp_path, do_aug=False))
    a = settings.augment
    assert a.p_rotate == a.p_horizontal_flip == a.p_vertical_flip == 0
    assert any("do_aug" in n for n in notes)


def test_unknown_keys_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="did you mean learning_rate"):
        load_settings("autoencoder", changes=["learning_rat=0.1"])
    with pytest.raises(SettingsError, match=r"augment\.p_rotat .* did you mean p_rotate"):
        load_settings("autoencoder", changes=["augment.p_rotat=0.1"])
    with pytest.raises(SettingsError, match=r"z_dims .* did you mean z_dim"):
        load_settings(file=zoo_file(tmp_path, z_dims=5))
    with pytest.raises(SettingsError, match="did you mean texture"):
        load_settings("textur")


@pytest.mark.parametrize("stride", ["abc", None])
def test_a_stride_that_is_no_number_is_told(tmp_path: Path, stride: str | None) -> None:
    with pytest.raises(SettingsError, match="stride is"):
        load_settings(file=zoo_file(tmp_path, im_resize=150, stride=stride))


def test_all_errors_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            "autoencoder", changes=["steps=0", "stride=x", "seeed=1", "nonsense", "color=red"]
        )
    message = str(caught.value)
    for word in ("steps", "stride", "seeed", "nonsense", "color"):
        assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["tile=256", "resize=200"], "larger than the working size 200"),
        (["stride=200"], "need 8 to 128"),
        (["stride=4"], "need 8 to 128"),
        (["centre_crop=300"], "larger than resize"),
        (["residual.terms.0.window=10"], "odd"),
        (["residual.terms.7.window=11"], "no such place"),
        (["learning_rate=.inf"], "learning_rate"),
        (["false_reject_rate=0"], "false_reject_rate"),
        (["held_out=0.6"], "held_out"),
    ],
)
def test_contradictions_are_refused(changes: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings("autoencoder", changes=changes)


def test_set_reaches_nested_settings_and_reads_numbers() -> None:
    settings, _ = load_settings(
        "autoencoder",
        changes=["residual.terms.0.sigma=2.5", "learning_rate=1e-3", "resize=none", "group=a(b)"],
    )
    assert settings.residual.terms[0].sigma == 2.5
    assert settings.learning_rate == 1e-3
    assert settings.resize is None
    assert settings.group == "a(b)"


def test_pairs_and_mappings_keep_texts_as_they_are() -> None:
    for changes in ([("group", "12")], {"group": "12"}):
        assert load_settings("autoencoder", changes=changes)[0].group == "12"


def test_values_that_yaml_itself_chokes_on(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not YAML"):
        load_settings("autoencoder", changes=["group=2024-99-99"])
    file = tmp_path / "date.yaml"
    file.write_text("group: 2024-99-99\n")
    with pytest.raises(SettingsError, match=r"date\.yaml: is not YAML"):
        load_settings(file=file)


def test_a_preset_beside_a_zoo_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="leave --preset autoencoder out"):
        load_settings("autoencoder", file=zoo_file(tmp_path))


def test_all_reference_files_load() -> None:
    for file in CONFIGS.glob("*.yaml"):
        settings, _ = load_settings(file=file)
        assert settings.zoo is not None, file


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "\x00"])
def test_files_that_hold_no_settings(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"bad\.yaml"):
        load_settings(file=file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(file=tmp_path / "none.yaml")


def test_zoo_counts_that_are_no_counts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="epochs is 'many'"):
        load_settings(file=zoo_file(tmp_path, epochs="many"))


def test_settings_describe_every_numeric_limit() -> None:
    schema = Settings.model_json_schema()["properties"]
    assert schema["steps"]["minimum"] == 1
    for name, described in schema.items():
        for one in (described, *described.get("anyOf", [])):
            if one.get("type") in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum", "enum"} & set(one), name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["residual.terms=[{kind: ssim, sigma: 4}]"], "choose weighs head"),
        (["residual.terms=[{kind: head}, {kind: head}]"], "each kind of residual once"),
        (["residual.terms=[{kind: head}, {kind: band}]"], "band needs sigma"),
        (["network=reference"], "need network=joint"),
        (["zoo={}"], "the zoo rule belongs to network=reference"),
        (["residual.combine=max"], "choose adds up"),
        (["residual.smooth=null", "residual.smooth_share=0.5"], "smooth_share is of a blur"),
        (["residual.terms.1.offset=3"], "measured on good pictures"),
        (["precision=fp16", "device=cpu"], "in which no CPU trains"),
        (["residual.mean_beyond=-1"], "mean_beyond is -1: input should be greater"),
        (["residual.mean_beyond=nan"], "mean_beyond is 'nan': input should be a finite"),
    ],
)
def test_what_the_joint_network_cannot_do_is_refused(changes: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings("auto", changes=changes)


@pytest.mark.parametrize(
    "change", ["combine=sum", "smooth=2", "bound=3", "mean_beyond=0", "terms.0.weight=2"]
)
def test_the_zoo_rule_takes_its_own_residual_alone(change: str) -> None:
    with pytest.raises(SettingsError, match=r"zoo rule takes residual\.combine=max"):
        load_settings("reference-texture", changes=[f"residual.{change}"])


@pytest.mark.parametrize("preset", ["texture", "auto"])
def test_a_blur_that_names_no_share_is_one_of_the_whole_map(preset: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"preset: {preset}\nchoose: false\nresidual: {{smooth: 2}}\n")
    assert load_settings(file=file)[0].residual.smooth_share == 1
    changes = ["choose=false", "residual.smooth=2"]
    assert load_settings(preset, changes=changes)[0].residual.smooth_share == 1
    both = load_settings(preset, changes=[*changes, "residual.smooth_share=0.5"])[0].residual
    assert (both.smooth, both.smooth_share) == (2, 0.5)
    assert load_settings(preset)[0].residual.smooth_share < 1


def test_what_chooses_on_a_preset_without_a_blur_is_read() -> None:
    terms = "[{kind: head}, {kind: gradient, sigma: 3}, {kind: band, sigma: 2}, {kind: rarity}]"
    changes = ["network=joint", "choose=true", f"residual.terms={terms}"]
    assert load_settings("autoencoder", changes=changes)[1] == []


def test_what_a_run_wrote_before_there_were_shares_is_read(tmp_path: Path) -> None:
    settings, _ = load_settings("auto")
    save_settings(settings, tmp_path / "config.yaml", "0")
    text = (tmp_path / "config.yaml").read_text()
    assert load_settings(file=tmp_path / "config.yaml") == (settings, [])
    old = re.sub(r"(?m)^  smooth: .*$", "  smooth: null", text)
    old = re.sub(r"(?m)^  smooth_share: .*\n", "", old)
    (tmp_path / "config.yaml").write_text(old)
    read, notes = load_settings(file=tmp_path / "config.yaml")
    assert (read.residual.smooth, read.residual.smooth_share) == (None, 1)
    assert len(notes) == 1
    assert notes[0].startswith("residual.smooth and its share: of no effect")


def test_weights_that_are_chosen_anyway_are_told() -> None:
    changes = ["residual.terms.1.weight=9", "residual.smooth=5"]
    _, notes = load_settings("auto", changes=changes)
    assert notes == [
        f"{what}: of no effect, as choose weighs and blurs the maps; set choose=false"
        for what in ("residual.terms.1.weight", "residual.smooth and its share")
    ]

    assert load_settings("auto", changes=[*changes, "choose=false"])[1] == []


def test_they_are_told_beside_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("steps: 500\n")
    settings, notes = load_settings(file=tmp_path / "mine.yaml", changes=["residual.smooth=1.5"])
    assert settings.steps == 500
    assert len(notes) == 1
    assert notes[0].startswith("residual.smooth and its share: of no effect")


def test_kinds_that_halve_the_picture_need_a_stride_on_their_grid() -> None:
    terms = "residual.terms=[{kind: gradient, sigma: 3}]"
    with pytest.raises(SettingsError, match="multiple of 8"):
        load_settings("autoencoder", changes=[terms, "stride=50"])
    assert load_settings("autoencoder", changes=[terms, "stride=48"])[0].stride == 48


def test_a_preset_is_no_single_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="choose it with --preset autoencoder"):
        load_settings("auto", changes=["preset=autoencoder"])
    with pytest.raises(SettingsError, match=r"false_reject_rate is 1e-320"):
        load_settings("auto", changes=["false_reject_rate=1e-320"])


def test_none_is_nothing_in_files_too(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("resize: none\nresidual:\n  surround: None\n")
    settings, _ = load_settings("auto", file)
    assert settings.resize is None
    assert settings.residual.surround is None
