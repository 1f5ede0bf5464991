//! docs/RULES.md, made from the rules themselves.

use super::rule::{self, Example, Rule};

/// What stands before the tables.
const HEAD: &str = include_str!("table/head.md");

/// The whole document.
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    for (theme, rules) in rule::themes() {
        text += &format!("\n## {theme}\n");
        for rule in rules {
            text += &section(rule);
        }
    }
    text
}

fn section(rule: &Rule) -> String {
    let [fails, passes] = rule.examples.map(|it| shown(&it));
    format!(
        "\n### {}: {}\n\n{}. Because {}. To mend it: {}.\n\n| fails | passes |\n| --- | --- |\n| {fails} | {passes} |\n",
        rule.id,
        rule.title,
        capital(&rule.severity.to_string()),
        rule.reason.trim_end_matches('.'),
        rule.fix.trim_end_matches('.'),
    )
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// One example as a cell of a table.
fn shown(example: &Example) -> String {
    let code = |text: &str| {
        let lines: Vec<_> =
            text.trim().lines().map(|it| format!("`{}`", it.trim().replace('|', "\\|"))).collect();
        lines.join("<br>")
    };
    match example {
        Example::Config(text) => code(text),
        Example::Facts(text) => format!("found: {}", code(text)),
        Example::Both(config, facts) => format!("{}; found: {}", code(config), code(facts)),
        Example::DropIn(unit, text) => format!("drop-in of {unit}: {}", code(text)),
        Example::File(text) => format!("the reference {text}"),
        Example::Reference => "the reference configuration".to_owned(),
        Example::Missing => "no file".to_owned(),
    }
}

/// One rule for the terminal.
pub fn explain(rule: &Rule) -> String {
    let [fails, passes] = rule.examples.map(|it| plain(&it));
    format!(
        "{} ({})\n  asks:   {}\n  why:    {}\n  fix:    {}\n  fails:  {fails}\n  passes: {passes}\n",
        rule.id, rule.severity, rule.title, rule.reason, rule.fix
    )
}

fn plain(example: &Example) -> String {
    shown(example).replace("<br>", "\n          ").replace('`', "").replace("\\|", "|")
}

/// All rules for the terminal, one a line.
pub fn list() -> String {
    rule::all().map(|it| format!("{}  {:<7}  {}\n", it.id, it.severity.to_string(), it.title)).collect()
}
