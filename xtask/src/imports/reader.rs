//! Reads a source file's references to other modules and crates: `use` trees, paths inside code, attributes
//! and macro arguments, resolved to where they lead.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemExternCrate, ItemFn, ItemMod, ItemUse, Macro, MetaList, UseTree};

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Inside the daemon, from the crate's root.
    Module(Vec<String>),
    /// In another crate; the first part is that crate's name.
    External(Vec<String>),
}

/// One path as it stands in the source, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) target: Target,
    pub(super) line: usize,
    pub(super) in_test: bool,
    pub(super) is_glob: bool,
}

/// A parsed file and its place in the module tree.
pub(super) struct SourceFile {
    module: Vec<String>,
    owner: String,
    syntax: syn::File,
}

impl SourceFile {
    /// `name` is relative to the crate's source folder.
    pub(super) fn parse(name: &Path, text: &str) -> Result<Self> {
        let syntax = syn::parse_file(text).map_err(|error| {
            let start = error.span().start();
            anyhow::anyhow!("line {}: {error}", start.line)
        })?;
        let mut module: Vec<String> = name
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let owner = module.first().context("the file has no name")?.clone();
        let is_root = module.len() == 1 && matches!(owner.as_str(), "main" | "lib");
        if is_root || module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        Ok(Self {
            module,
            owner,
            syntax,
        })
    }

    /// The module path of the file; empty for main.rs.
    pub(super) fn module(&self) -> &[String] {
        &self.module
    }

    /// The top-level module that the file belongs to, or `main`.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Modules in files of their own that are declared here for tests only.
    pub(super) fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self.syntax.items.iter().filter_map(|item| match item {
            Item::Mod(item) if item.content.is_none() && is_test_only(&item.attrs) => {
                Some(item.ident.to_string())
            }
            _ => None,
        });
        declared
            .map(|name| [self.module.as_slice(), &[name]].concat())
            .collect()
    }

    pub(super) fn references(&self) -> Vec<Reference> {
        let mut names = Names::default();
        names.visit_file(&self.syntax);
        let mut reader = Reader {
            module: self.module.clone(),
            names,
            test_depth: 0,
            references: Vec::new(),
        };
        reader.visit_file(&self.syntax);
        reader.references
    }
}

/// `#[cfg(test)]`, also inside `all(…)`, and `#[test]`; `not(test)` does not count.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let is_cfg = path.is_ident("cfg");
        let mut found = path
            .segments
            .last()
            .is_some_and(|segment| segment.ident == "test");
        if is_cfg {
            let words = attribute
                .meta
                .require_list()
                .map(|list| cfg_words(&list.tokens))
                .unwrap_or_default();
            found = words.iter().any(|word| word == "test")
                && !words.iter().any(|word| word == "not" || word == "any");
        }
        found
    })
}

fn cfg_words(tokens: &TokenStream) -> Vec<String> {
    let mut words = Vec::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) => words.push(ident.to_string()),
            TokenTree::Group(group) => words.extend(cfg_words(&group.stream())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    words
}

/// The names that a file's imports bind and the modules that it declares. Scopes inside the file are not told apart:
/// what a name means at the top, it means everywhere.
#[derive(Debug, Default)]
struct Names {
    imports: HashMap<String, Vec<String>>,
    modules: Vec<String>,
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for leaf in leaves(item) {
            if let Some(name) = leaf.binds
                && !leaf.is_glob
            {
                self.imports.insert(name, leaf.path);
            }
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.modules.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
    }
}

/// One name that a `use` brings in.
#[derive(Debug)]
struct Leaf {
    /// With a leading "" where the source has `::`.
    path: Vec<String>,
    binds: Option<String>,
    is_glob: bool,
    span: Span,
}

fn leaves(item: &ItemUse) -> Vec<Leaf> {
    let mut found = Vec::new();
    let prefix = if item.leading_colon.is_some() {
        vec![String::new()]
    } else {
        Vec::new()
    };
    walk(&item.tree, prefix, &mut found);
    found
}

fn walk(tree: &UseTree, mut path: Vec<String>, found: &mut Vec<Leaf>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            walk(&part.tree, path, found);
        }
        UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| walk(tree, path.clone(), found)),
        UseTree::Glob(glob) => {
            found.push(Leaf {
                path,
                binds: None,
                is_glob: true,
                span: glob.star_token.spans[0],
            });
        }
        UseTree::Name(name) => {
            // `use a::{self}` binds `a`.
            if name.ident != "self" || path.is_empty() {
                path.push(name.ident.to_string());
            }
            found.push(Leaf {
                binds: path.last().cloned(),
                path,
                is_glob: false,
                span: name.ident.span(),
            });
        }
        UseTree::Rename(rename) => {
            if rename.ident != "self" || path.is_empty() {
                path.push(rename.ident.to_string());
            }
            let binds = Some(rename.rename.to_string());
            found.push(Leaf {
                path,
                binds,
                is_glob: false,
                span: rename.ident.span(),
            });
        }
    }
}

#[derive(Debug)]
struct Reader {
    module: Vec<String>,
    names: Names,
    test_depth: usize,
    references: Vec<Reference>,
}

impl Reader {
    fn add(&mut self, path: &[String], span: Span, is_glob: bool) {
        if let Some(target) = self.resolve(path) {
            let in_test = self.test_depth > 0;
            self.references.push(Reference {
                target,
                line: span.start().line,
                in_test,
                is_glob,
            });
        }
    }

    /// A path in code: its first name may be one that an import has bound, such as `time` in `time::Instant`. The
    /// import itself is judged where it stands, so only what the path adds to it makes a reference.
    fn add_expression(&mut self, path: &[String], span: Span) {
        let [first, rest @ ..] = path else { return };
        match self.names.imports.get(first) {
            Some(_) if rest.is_empty() => {}
            Some(import) if import.first() == Some(first) && import.len() == 1 => self.add(path, span, false),
            Some(import) => {
                let expanded = [import.as_slice(), rest].concat();
                self.add(&expanded, span, false);
            }
            None => self.add(path, span, false),
        }
    }

    fn resolve(&self, path: &[String]) -> Option<Target> {
        let [first, rest @ ..] = path else { return None };
        let mut module = self.module.clone();
        match first.as_str() {
            "" => return Some(Target::External(rest.to_vec())),
            "crate" => return Some(Target::Module(rest.to_vec())),
            "$crate" | "Self" => return None,
            "self" => {
                module.extend_from_slice(rest);
                return Some(Target::Module(module));
            }
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                module.truncate(module.len().saturating_sub(ups));
                module.extend_from_slice(&path[ups..]);
                return Some(Target::Module(module));
            }
            _ => {}
        }
        // An own module goes before a crate of the same name, as for the compiler.
        if self.names.modules.contains(first) {
            module.extend_from_slice(path);
            return Some(Target::Module(module));
        }
        Some(Target::External(path.to_vec()))
    }

    /// Macro arguments are no syntax tree; the paths in them are found as idents joined by `::`.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut index = 0;
        while index < tokens.len() {
            match &tokens[index] {
                TokenTree::Group(group) if group.delimiter() != Delimiter::None => {
                    self.read_tokens(group.stream());
                    index += 1;
                }
                TokenTree::Ident(ident) => {
                    let after_colons = index >= 2 && is_colons(&tokens, index - 2);
                    let mut path = if after_colons {
                        vec![String::new()]
                    } else {
                        Vec::new()
                    };
                    path.push(ident.to_string());
                    let span = ident.span();
                    index += 1;
                    while is_colons(&tokens, index) {
                        let Some(TokenTree::Ident(next)) = tokens.get(index + 2) else {
                            break;
                        };
                        path.push(next.to_string());
                        index += 3;
                    }
                    // A lone ident is a variable, a field or a key.
                    if path.len() > 1 {
                        self.add_expression(&path, span);
                    }
                }
                _ => index += 1,
            }
        }
    }

    fn scoped(&mut self, is_test: bool, body: impl FnOnce(&mut Self)) {
        self.test_depth += usize::from(is_test);
        body(self);
        self.test_depth -= usize::from(is_test);
    }
}

fn is_colons(tokens: &[TokenTree], index: usize) -> bool {
    let is_colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(tokens.get(index)) && is_colon(tokens.get(index + 1))
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            // `visit_item_mod` and `visit_item_fn` look at theirs; the rest has no path of note.
            _ => &[],
        };
        self.scoped(is_test_only(attributes), |reader| visit::visit_item(reader, item));
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.scoped(is_test_only(&item.attrs), |reader| {
            reader.module.push(item.ident.to_string());
            visit::visit_item_mod(reader, item);
            reader.module.pop();
        });
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.scoped(is_test_only(&item.attrs), |reader| {
            visit::visit_item_fn(reader, item)
        });
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for leaf in leaves(item) {
            let bound_elsewhere = leaf.path.first().is_some_and(|first| {
                self.names
                    .imports
                    .get(first)
                    .is_some_and(|import| import.first() != Some(first))
            });
            if bound_elsewhere && !leaf.is_glob {
                self.add_expression(&leaf.path, leaf.span);
            } else {
                self.add(&leaf.path, leaf.span, leaf.is_glob);
            }
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast ItemExternCrate) {
        self.add(&[String::new(), item.ident.to_string()], item.ident.span(), false);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if path.leading_colon.is_some() {
            names.insert(0, String::new());
        }
        if let Some(first) = path.segments.first()
            && names.len() > 1
        {
            self.add_expression(&names, first.ident.span());
        }
        // Generic arguments hold paths too.
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.read_tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    fn visit_meta_list(&mut self, list: &'ast MetaList) {
        self.read_tokens(list.tokens.clone());
        visit::visit_meta_list(self, list);
    }
}
