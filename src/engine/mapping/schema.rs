//! Which JSON Schema describes a mapping?
//!
//! Editors check a mapping against it while it is written, and Helm checks the chart's value `mapping`. It is
//! made of the tables of keys and limits by which a mapping is read. It never refuses a mapping that
//! [`super::compile`] takes, so whatever it cannot tell is left out: `docs/mapping.md` lists that. Patterns
//! keep to what every engine knows of regular expressions. Helm's has no look-ahead.

use serde_json::{Map, Value, json};

use super::keys::{Key, Takes};
use super::match_block::{self, MAX_LABELS};
use super::names::MAX_NAME;
use super::options::{
    EXTERNAL_ID, EXTERNAL_ID_SIGNS, IRSA_KEYS, MAX_AUDIENCE, POD_KEYS, SESSION_NAME, SESSION_SIGNS,
    TOKEN_EXPIRATION,
};
use super::reader::{MAX_KEY, MAX_LIST, MAX_TEXT};
use super::rule_list::MAX_RULES;
use super::rules::{GRANT_KEYS, RULE_KEYS};
use super::top::{ON_CONFLICT, ON_NO_RULE, TOP_KEYS};
use crate::engine::object::component::Component;
use crate::engine::object::provider::Provider;
use crate::engine::rules::arn::{NAME_SIGNS, PARTITIONS};
use crate::engine::rules::glob::MAX_EXPANDED;
use crate::engine::rules::role_template::Placeholder;

/// A label of RFC 1123, as `is_dns_label` takes it.
const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// Returns the schema (draft 7). Its `definitions` all begin with `mapping`, and refer only to each other, so
/// that they can stand in another schema.
#[must_use]
pub fn schema() -> Value {
    let mapping = block(&TOP_KEYS, [("required", json!(["rules"]))]);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The role mapping of gitlab-iam-webhook",
        "definitions": {
            "mapping": mapping,
            "mappingRule": rule(),
            "mappingMatch": block(
                &match_block::KEYS,
                [("minProperties", json!(1)), ("dependencies", json!({"project": ["runner"]}))],
            ),
            "mappingIrsa": block(&IRSA_KEYS, []),
            "mappingPod": block(&POD_KEYS, []),
        },
        "$ref": "#/definitions/mapping",
    })
}

/// Makes the schema of a block that takes these keys and no other.
fn block<const N: usize>(keys: &[Key], more: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut schema = Map::from_iter([("description".to_owned(), json!(key.about))]);
            if let Value::Object(takes) = value(key.takes) {
                schema.extend(takes);
            }
            (key.name.to_owned(), Value::Object(schema))
        })
        .collect();
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    for (keyword, value) in more {
        if let Value::Object(schema) = &mut schema {
            schema.insert(keyword.to_owned(), value);
        }
    }
    schema
}

/// A rule gives a role, or skips, or removes.
fn rule() -> Value {
    let says = |flag: &str| json!({"properties": {flag: {"const": true}}, "required": [flag]});
    let without_grant = |more: Value| {
        let mut refused: Map<String, Value> =
            GRANT_KEYS.iter().chain(&["role"]).map(|key| ((*key).to_owned(), json!(false))).collect();
        if let Value::Object(more) = more {
            refused.extend(more);
        }
        Value::Object(refused)
    };
    block(
        &RULE_KEYS,
        [
            ("required", json!(["match"])),
            ("if", says("skip")),
            ("then", json!({"properties": without_grant(json!({"remove": {"const": false}}))})),
            (
                "else",
                json!({
                    "if": says("remove"),
                    "then": {"properties": without_grant(json!({})), "required": ["provider"]},
                    "else": {"required": ["role"]},
                }),
            ),
        ],
    )
}

fn value(takes: Takes) -> Value {
    let definition = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    match takes {
        Takes::Account => json!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]{12}$",
            "minimum": 100_000_000_000_u64,
            "maximum": 999_999_999_999_u64,
        }),
        Takes::Audience => text(1, MAX_AUDIENCE, r"^[^\x00-\x20\x7f]+$"),
        Takes::Boolean => json!({"type": "boolean"}),
        Takes::Components => {
            let names = Component::all().map(Component::name).chain(["task-runner", "*"]);
            one_or_more(&json!({"enum": names.collect::<Vec<_>>()}))
        }
        Takes::Containers => one_or_more(&text(1, 63, &format!("^{DNS_LABEL}$"))),
        Takes::ExternalId => {
            session(EXTERNAL_ID, &format!("^[A-Za-z0-9{EXTERNAL_ID_SIGNS}{SESSION_SIGNS}]+$"))
        }
        Takes::Globs => globs(),
        Takes::Irsa => definition("mappingIrsa"),
        Takes::Labels => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": MAX_LABELS,
            "propertyNames": {"maxLength": MAX_KEY},
            "additionalProperties": globs(),
        }),
        Takes::Match => definition("mappingMatch"),
        Takes::Name => text(1, MAX_NAME, r"^[^\x00-\x1f\x7f-\x9f]+$"),
        Takes::OnConflict => json!({"enum": ON_CONFLICT.map(|(word, _)| word)}),
        Takes::OnNoRule => json!({"enum": ON_NO_RULE.map(|(word, _)| word)}),
        Takes::Partition => json!({"enum": PARTITIONS}),
        Takes::Pod => definition("mappingPod"),
        Takes::Projects => one_or_more(&json!({
            "type": ["string", "integer"],
            "pattern": "^[1-9][0-9]{0,18}$",
            "minimum": 1,
            "maximum": 9_999_999_999_999_999_999_u64,
        })),
        Takes::Providers => one_or_more(&json!({"enum": Provider::ALL.map(Provider::name)})),
        Takes::Role => role(),
        Takes::Rules => json!({
            "type": "array",
            "maxItems": MAX_RULES,
            "items": definition("mappingRule"),
        }),
        Takes::Runners => {
            one_or_more(&text(3, 63 + 1 + 253, &format!(r"^{DNS_LABEL}/{DNS_LABEL}(\.{DNS_LABEL})*$")))
        }
        Takes::SessionName => session(SESSION_NAME, &format!("^[A-Za-z0-9{SESSION_SIGNS}]+$")),
        Takes::TokenExpiration => json!({
            "type": ["integer", "string"],
            "minimum": TOKEN_EXPIRATION.start(),
            "maximum": TOKEN_EXPIRATION.end(),
            "pattern": "^[+]?0*[1-9][0-9]{2,4}$",
        }),
    }
}

/// The lengths are in characters, of which a text never has more than bytes.
fn text(least: usize, most: usize, pattern: &str) -> Value {
    json!({"type": "string", "minLength": least, "maxLength": most, "pattern": pattern})
}

fn session(length: std::ops::RangeInclusive<usize>, pattern: &str) -> Value {
    text(*length.start(), *length.end(), pattern)
}

/// One value, or a list of them. Editors complete the words of an `anyOf`, but not those behind an `if`.
fn one_or_more(one: &Value) -> Value {
    json!({"anyOf": [one, {"type": "array", "minItems": 1, "maxItems": MAX_LIST, "items": one}]})
}

fn globs() -> Value {
    one_or_more(&text(1, MAX_EXPANDED, r"^[^\\]+$"))
}

/// A path and a name are told from a full ARN as `is_arn` tells them. Their lengths are left to the engine:
/// placeholders are longer than what they may stand for.
fn role() -> Value {
    let names: Vec<&str> = Placeholder::ALL.into_iter().map(Placeholder::name).collect();
    let placeholder = format!(r"\{{({})\}}", names.join("|"));
    // A part of a path holds all from `!` to `~` but `/` and the braces.
    let path_and_name = format!(r"(([!-.0-z|~]|{placeholder})+/)*([A-Za-z0-9{NAME_SIGNS}]|{placeholder})+$");
    let arn = format!("^arn:({}):iam::[0-9]{{12}}:role/{path_and_name}", PARTITIONS.join("|"));
    json!({
        "type": "string",
        "maxLength": MAX_TEXT,
        "if": {"pattern": "^arn:"},
        "then": {"pattern": arn},
        "else": {"pattern": format!("^{path_and_name}")},
    })
}
