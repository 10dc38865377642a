//! `kevmon plugin unit`: a unit for one plugin, under the name that its file gives it.

use std::fs;

use kevmon_tests::{
    plugin_tool::{assert_told, plugin},
    scratch::Scratch,
};

const TEMPLATE: &str = "[Unit]\nDescription=kevmon, plugin %i\n\n[Service]\nExecStart=/usr/bin/kevmon --plugin %i\nEnvironment=X=100%%i\n\n\
                        [Install]\nWantedBy=multi-user.target\nDefaultInstance=x\n";

/// The folder with the template and the plugin `shop`, in a file that ends with `rest`.
fn folder(rest: &str) -> (Scratch, String, String) {
    let scratch = Scratch::new();
    let template = scratch.path().join("kevmon@.service");
    fs::write(&template, TEMPLATE).expect("our own folder");
    let plugins = scratch.path().join("plugins/shop");
    fs::create_dir_all(&plugins).expect("our own folder");
    let text =
        format!("[plugin]\nname = \"shop\"\n[service]\nnamespace = \"My\"\nprocess_name = \"shop\"\n{rest}");
    fs::write(plugins.join("plugin.toml"), text).expect("our own folder");
    let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (template, plugins) = (text(&template), text(&scratch.path().join("plugins")));
    (scratch, template, plugins)
}

#[test]
fn a_plugin_file_s_service_name_becomes_a_unit_of_that_name() {
    let (scratch, template, plugins) =
        folder("[systemd]\nservice_name = \"instana-shop-monitor\"\ndescription = \"The shop's 100 %\"\n");
    let output = scratch.path().join("units");
    let output = output.to_str().expect("UTF-8");
    let arguments = [
        "unit",
        "shop",
        "--plugins-dir",
        &plugins,
        "--template",
        &template,
        "--output",
        output,
    ];
    let written = plugin(&arguments);
    written.assert_code(0);
    assert_told(&written, &["systemctl enable --now instana-shop-monitor.service"]);
    let unit = fs::read_to_string(format!("{output}/instana-shop-monitor.service")).expect("the unit");
    let expected = "Description=The shop's 100 %%\n\n[Service]\nExecStart=/usr/bin/kevmon --plugin shop\nEnvironment=X=100%%i\n";
    assert!(
        unit.contains(expected) && !unit.contains("DefaultInstance"),
        "{unit}"
    );
    let again = plugin(&arguments);
    again.assert_code(2);
    assert_told(&again, &["exists already"]);
}

#[test]
fn the_published_files_have_units_of_their_names() {
    let (_scratch, template, _) = folder("");
    for name in ["m8refsvr", "m8prcsvr", "m8mulprc", "mstrsvr"] {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins");
        let printed = plugin(&["unit", name, "--plugins-dir", shipped, "--template", &template]);
        printed.assert_code(0);
        assert!(
            printed
                .stdout
                .contains(&format!("ExecStart=/usr/bin/kevmon --plugin {name}\n")),
            "{}",
            printed.stdout
        );
    }
}

#[test]
fn a_name_that_is_no_unit_s_is_refused_with_its_key() {
    for (rest, told) in [
        ("", "it names no unit"),
        (
            "[systemd]\nservice_name = \"../../etc/cron.d/x\"\n",
            "systemd.service_name",
        ),
        ("[systemd]\nservice_name = \"a@b\"\n", "is no name of a unit"),
        (
            "[systemd]\nservice_name = \"kevmon.service\"\n",
            "is the unit of all plugins",
        ),
        ("[systemd]\nservice_name = \"\"\n", "is no name of a unit"),
    ] {
        let (_scratch, template, plugins) = folder(rest);
        let refused = plugin(&["unit", "shop", "--plugins-dir", &plugins, "--template", &template]);
        refused.assert_code(2);
        assert_told(&refused, &[told]);
        assert_eq!(refused.stdout, "");
    }
    let (_scratch, template, plugins) = folder("");
    let absent = plugin(&[
        "unit",
        "nothing",
        "--plugins-dir",
        &plugins,
        "--template",
        &template,
    ]);
    absent.assert_code(2);
}
