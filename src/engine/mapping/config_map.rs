//! How is a mapping read out of the manifest of a ConfigMap?

use super::{CONFIG_MAP_KEY, Problem, Problems, conclude, is_config_map, read};
use crate::engine::mapping::capped_list::CappedList;
use crate::engine::rules::operator_policy::OperatorPolicy;
use crate::engine::rules::ruleset::Ruleset;
use crate::engine::yaml::{self, Node, Position};

/// Reads a mapping from a file of the user's own. The file holds the bare text, or the manifest of a
/// ConfigMap that holds it under `mapping.yaml`.
///
/// # Errors
/// Returns every problem in it.
pub fn compile_file(text: &str, operator_policy: &OperatorPolicy) -> Result<Ruleset, Problems> {
    let mut problems = CappedList::new(None, |problem: &Problem| problem.at);
    // A text that is not YAML is read as a mapping, which reports it.
    let documents = yaml::read(text).unwrap_or_default();
    let Some(config_map) = documents.iter().find(|document| is_config_map(document)) else {
        let ruleset = read(text, operator_policy, &mut problems);
        return conclude(ruleset, problems);
    };
    let Some(holder) = config_map.at_path(&["data", CONFIG_MAP_KEY]) else {
        let data = config_map.get("data").and_then(Node::as_mapping).unwrap_or_default();
        let keys: Vec<&str> = data.iter().filter_map(|(key, _)| key.as_text()).collect();
        let has = if keys.is_empty() {
            String::new()
        } else {
            format!("; it has {}: rename the key", keys.join(", "))
        };
        let message = format!("this ConfigMap has no `data` key `{CONFIG_MAP_KEY}`{has}");
        problems.add(config_map.at, || Problem::new(config_map.at, "", &message));
        return conclude(None, problems);
    };
    let Some(inner) = holder.as_text() else {
        let message = format!("`{CONFIG_MAP_KEY}` must be text, found {}", holder.describe());
        problems.add(holder.at, || Problem::new(holder.at, "", &message));
        return conclude(None, problems);
    };
    let ruleset = read(inner, operator_policy, &mut problems);
    let origin = Origin::of(holder);
    conclude(ruleset, problems).map_err(|Problems { first, more }| {
        let first = first.into_iter().map(|problem| origin.outside(problem)).collect();
        Problems { first, more }
    })
}

/// How the places in a mapping's text become places in the manifest around it.
enum Origin {
    /// The text is a `|` block. Its line 1 is this line of the manifest, and each line is indented by so many
    /// columns.
    Block { first_line: u32, indent: u32 },
    /// The text is quoted or folded, so that its lines do not stand in the manifest as they are. It begins
    /// here.
    Scalar(Position),
}

impl Origin {
    fn of(node: &Node<'_>) -> Self {
        match node.as_scalar().filter(|scalar| scalar.literal_block) {
            Some(scalar) => {
                // The node's place is its first line that is not blank.
                let blank = scalar.text.chars().take_while(|c| *c == '\n').fold(0, |lines, _| lines + 1);
                Self::Block { first_line: node.at.line - blank, indent: node.at.column - 1 }
            }
            None => Self::Scalar(node.at),
        }
    }

    fn outside(&self, problem: Problem) -> Problem {
        let Problem { at, path, message } = problem;
        match self {
            Self::Block { first_line, indent } => {
                let at = Position { line: at.line + first_line - 1, column: at.column + indent };
                Problem { at, path, message }
            }
            Self::Scalar(node) => {
                Problem { at: *node, path, message: format!("{message} (at {at} of {CONFIG_MAP_KEY})") }
            }
        }
    }
}
