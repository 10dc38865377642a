//! What services are called: naming, what is set, template, instance, several names, prefix; and what is refused.

use super::*;

fn loaded(files: &[(&str, &str)]) -> (Folder, Loaded) {
    let folder = Folder::new();
    for (name, text) in files {
        folder.write(&format!("{name}/plugin.toml"), &format!("schema = 1\n{text}"));
    }
    let loaded = load(
        &folder.sources(),
        &Environment::default(),
        &Overrides::default(),
        None,
    );
    (folder, loaded)
}

/// Label, name and id of each service of the plugin `web`.
#[track_caller]
fn called(text: &str) -> Vec<(String, String, String)> {
    let (folder, loaded) = loaded(&[("web", text)]);
    assert_eq!(folder.lines(&loaded.faults), [""; 0], "{text}");
    let plugins = loaded.plugins.iter();
    plugins
        .map(|plugin| (plugin.label(), plugin.service_name(), plugin.service.id.clone()))
        .collect()
}

#[test]
fn the_matrix() {
    const DEFAULT: &str = "{service_namespace}.{process_name}";
    for (template, id, plain, shown) in [
        (DEFAULT, "shop_nginx", "shop.nginx", "Shop Nginx"),
        ("{plugin_name}", "web", "web", "Web"),
        ("Web Shop!", "web_shop", "Web Shop!", "Web Shop"),
        ("^{process_name}$", "nginx", "^nginx$", "Nginx"),
    ] {
        for (naming, prefix) in ["instana", "otel", "both"]
            .into_iter()
            .flat_map(|naming| [(naming, true), (naming, false)])
        {
            for (name, instance, expected) in [
                (None, None, if naming == "otel" { plain } else { shown }),
                (Some("checkout"), None, "checkout"),
                (Some("Check-Out ₿ v2."), None, "Check-Out ₿ v2."),
                (
                    Some("{plugin_name}/{process_name}@{service_namespace}"),
                    None,
                    "web/nginx@shop",
                ),
                (Some("checkout"), Some("pay"), "pay"),
                (None, Some("{process_name}-pay"), "nginx-pay"),
            ] {
                let name = name.map_or_else(String::new, |name| format!("name = '{name}'\n"));
                let instance = instance.map_or_else(String::new, |name| {
                    format!("[[instance]]\nid = 'i'\nname = '{name}'\n")
                });
                let text = format!(
                    "[service]\nnamespace = 'shop'\nprocess_name = '^nginx$'\n{name}[monitoring]\nnaming = '{naming}'\n\
                     prefix = {prefix}\n[otel_config]\nservice_name_template = '{template}'\n{instance}"
                );
                let label = if instance.is_empty() { "web" } else { "web(i)" };
                let expected = (label.to_owned(), expected.to_owned(), id.to_owned());
                assert_eq!(called(&text), [expected], "{text}");
            }
        }
    }
}

#[test]
fn instances_and_several_names_have_names_of_their_own() {
    let names = |text: &str| -> Vec<String> { called(text).into_iter().map(|(_, name, _)| name).collect() };
    let instances = "process_name = 'redis'\n[[instance]]\nid = 'a'\n[[instance]]\nid = 'b'\nname = 'other'\n\
                     [[instance]]\nid = 'c'\nprocess_name = '^valkey$'\n";
    assert_eq!(
        names(&format!("[service]\nname = 'cache'\n{instances}")),
        ["cache", "other", "cache"]
    );
    assert_eq!(
        names(&format!("[service]\nname = '{{process_name}}'\n{instances}")),
        ["redis", "other", "valkey"]
    );
    let several = "process_names = ['^web$', 'MyApp\\.DB', 'a|b']\n";
    assert_eq!(
        names(&format!("[service]\nname = 'shop-{{process_name}}'\n{several}")),
        ["shop-web", "shop-MyApp.DB", "shop-a|b"]
    );
    assert_eq!(
        names(&format!("[service]\nname = '{{plugin_name}}'\n{several}")),
        ["web-web", "web-myapp-.db", "web-a-b"]
    );
    // Without a process the plugin's name stands for it.
    let watches_none = "[service]\nname = 'x-{process_name}'\n[[collector]]\nname = 'c'\nkind = 'builtin'\n\
                        builtin = 'host_pressure'\n";
    assert_eq!(names(watches_none), ["x-web"]);
}

#[test]
fn what_is_no_name_is_refused_where_it_stands() {
    let long = "x".repeat(257);
    let long_pattern = format!("^{}$", "x".repeat(300));
    for (text, expected) in [
        (
            "[service]\nname = ''\nprocess_name = 'a'\n",
            "web/plugin.toml:3: service.name: is empty; write a name, or leave the key out",
        ),
        (
            "[service]\nname = \" \\t\"\nprocess_name = 'a'\n",
            "web/plugin.toml:3: service.name: is empty; write a name",
        ),
        (
            "[service]\nname = \"a\\nb\"\nprocess_name = 'a'\n",
            "web/plugin.toml:3: service.name: \"a\\nb\" holds the control character '\\n'; write the name on one line",
        ),
        (
            "[service]\nname = \"a\\u007f\"\nprocess_name = 'a'\n",
            "holds the control character '\\u{7f}'; write the name on one line",
        ),
        (
            &format!("[service]\nname = '{long}'\nprocess_name = 'a'\n"),
            "web/plugin.toml:3: service.name: is longer than 256 characters; shorten it",
        ),
        (
            &format!("[service]\nname = '{{process_name}}'\nprocess_name = '{long_pattern}'\n"),
            "web/plugin.toml:3: service.name: is longer than 256 characters; shorten it",
        ),
        (
            "[service]\nname = '{host}'\nprocess_name = 'a'\n",
            "web/plugin.toml:3: service.name: unknown placeholder \"{host}\"; known: {service_namespace}",
        ),
        (
            "[service]\nname = 7\nprocess_name = 'a'\n",
            "web/plugin.toml:3: service.name: must be a string, found an integer; put it in quotes",
        ),
        (
            "[service]\nprocess_name = 'a'\n[[instance]]\nid = 'i'\nname = ''\n",
            "web/plugin.toml:6: instance.name: is empty; write a name",
        ),
        (
            "[service]\nname = 'one'\nprocess_names = ['a', 'b', 'c']\n",
            "web/plugin.toml:3: service.name: the services of web-a and web-b would both be called \"one\"; write \
             {process_name} or {plugin_name} into the name",
        ),
        (
            "[service]\nprocess_name = 'a'\nattributes = { \"service.name\" = 'x' }\n",
            "web/plugin.toml:4: service.attributes: kevmon sets the attribute \"service.name\" itself; write name = \
             \"…\" in [service], or in an [[instance]] for that one",
        ),
        (
            "[service]\nprocess_name = 'a'\n[[instance]]\nid = 'i'\nattributes = { \"service.name\" = 'x' }\n",
            "web/plugin.toml:6: instance.attributes: kevmon sets the attribute \"service.name\" itself; write name",
        ),
    ] {
        let (folder, loaded) = loaded(&[("web", text)]);
        let lines = folder.lines(&loaded.faults);
        assert!(
            lines.len() == 1 && lines[0].contains(expected),
            "{text}: {lines:#?}, not {expected}"
        );
        assert!(loaded.plugins.is_empty(), "{text}");
    }
}

#[test]
fn two_plugins_of_one_name_get_a_warning_where_no_namespace_tells_them_apart() {
    let of = |namespace: &str, name: &str, process: &str| {
        format!("[service]\nnamespace = '{namespace}'\nprocess_name = '{process}'\n{name}")
    };
    let name = "name = 'checkout'\n";
    for (one, other, warned) in [
        (of("a", name, "x"), of("a", name, "y"), true),
        (of("a", name, "x"), of("b", name, "y"), false),
        (of("a", name, "x"), of("a", "", "y"), false),
        (of("a", "name = 'A Y'\n", "x"), of("a", "", "y"), true),
        (of("a", "", "b.c"), of("a.b", "", "c"), true),
        (of("a", name, "x"), of("a", "", "x"), false),
    ] {
        let (folder, loaded) = loaded(&[("one", &one), ("other", &other)]);
        assert_eq!(loaded.plugins.len(), 2);
        let lines = folder.lines(&loaded.warnings);
        assert_eq!(lines.len(), usize::from(warned), "{one}{other}: {lines:?}");
        assert!(
            lines.iter().all(|line| line.contains("both shown as")),
            "{lines:?}"
        );
    }
}
