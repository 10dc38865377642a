//! Links of the repository's pages: each relative one leads to a file, and each anchor to a heading. No network is asked.

use std::{collections::BTreeMap, path::Path};

use kevmon_tests::docs::{self, Page};

fn is_elsewhere(target: &str) -> bool {
    ["https://", "http://", "mailto:"]
        .iter()
        .any(|scheme| target.starts_with(scheme))
}

/// What is wrong with the links of a page.
fn faults(page: &Page, anchors: &BTreeMap<&Path, Vec<String>>) -> Vec<String> {
    let mut faults = Vec::new();
    let folder = page.path.parent().unwrap_or(Path::new(""));
    for link in page.links() {
        let mut fault = |what: String| faults.push(format!("{}:{}: {what}", page.path.display(), link.line));
        if is_elsewhere(&link.target) {
            continue;
        }
        let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
        let path = match file {
            "" => Some(page.path.clone()),
            file => docs::resolve(folder, file),
        };
        let Some(path) = path.filter(|path| docs::root().join(path).exists()) else {
            fault(format!("{} leads nowhere", link.target));
            continue;
        };
        let known = anchors.get(path.as_path());
        if !anchor.is_empty() && !known.is_some_and(|known| known.iter().any(|one| one == anchor)) {
            fault(format!("{} has no heading #{anchor}", path.display()));
        }
    }
    faults
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let pages = docs::pages();
    let anchors: BTreeMap<&Path, Vec<String>> = pages
        .iter()
        .map(|page| (page.path.as_path(), page.anchors()))
        .collect();
    let links: usize = pages.iter().map(|page| page.links().len()).sum();
    assert!(
        links > 300,
        "only {links} links were found in {} pages",
        pages.len()
    );
    let faults: Vec<String> = pages.iter().flat_map(|page| faults(page, &anchors)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_a_link_is() {
    let page = |text: &str| Page {
        path: "docs/x.md".into(),
        text: text.to_owned(),
    };
    let text = "# The [x](y.md) of `kevmon why`: *all*\n## Twice\n## Twice\n\
                See [a](b.md#c), ![d](e.png \"title\") and `[no](link)`.\n```sh\n[no](code)\n# no heading\n```\n";
    let page = page(text);
    let targets: Vec<String> = page.links().into_iter().map(|link| link.target).collect();
    assert_eq!(targets, ["y.md", "b.md#c", "e.png"]);
    assert_eq!(page.anchors(), ["the-x-of-kevmon-why-all", "twice", "twice-1"]);
    assert_eq!(
        faults(&page, &BTreeMap::new()),
        [
            "docs/x.md:1: y.md leads nowhere",
            "docs/x.md:4: b.md#c leads nowhere",
            "docs/x.md:4: e.png leads nowhere"
        ]
    );
}
