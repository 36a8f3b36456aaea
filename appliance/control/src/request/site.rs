//! Verbs that change or show the configuration.

use serde::{Deserialize, Serialize};

use crate::value::{ConfirmWithin, Limit};
use crate::when::When;

/// What happens with a change after it was found to hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// False: preview only.
    pub commit: bool,
    /// Into the staged site instead of into force.
    pub stage: bool,
    /// Version of the configuration the change was made for; when it has moved on,
    /// [`ErrorCode::Conflict`](crate::ErrorCode::Conflict) and no change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_version: Option<u64>,
    /// In force at once, and rolled back after this time unless confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<ConfirmWithin>,
    /// Words for the history.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// `site.apply`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteApply {
    /// The site file, whole.
    pub toml: String,
    /// What then.
    #[serde(default)]
    pub terms: Terms,
}

/// What an edit does with its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditKind {
    /// Sets fields of an object that is there.
    #[default]
    Set,
    /// Makes an object that is not there.
    Add,
    /// Takes fields back to their defaults.
    Unset,
    /// Takes the object away.
    Delete,
}

impl EditKind {
    /// The word on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            EditKind::Set => "set",
            EditKind::Add => "add",
            EditKind::Unset => "unset",
            EditKind::Delete => "delete",
        }
    }
}

/// How a field is edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FieldOp {
    /// `field=value`: becomes this.
    #[default]
    #[serde(rename = "=")]
    Replace,
    /// `field+=value`: a list gets these too.
    #[serde(rename = "+=")]
    Append,
    /// `field-=value`: a list loses these.
    #[serde(rename = "-=")]
    Remove,
}

impl FieldOp {
    /// The sign between field and value.
    pub const fn as_str(self) -> &'static str {
        match self {
            FieldOp::Replace => "=",
            FieldOp::Append => "+=",
            FieldOp::Remove => "-=",
        }
    }
}

/// One field of an edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldEdit {
    /// Its name; with dots when it is nested.
    pub field: String,
    /// How.
    #[serde(default)]
    pub op: FieldOp,
    /// As typed; of a list with commas between.
    #[serde(default)]
    pub value: String,
}

/// A small edit of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// What.
    pub edit: EditKind,
    /// A word of [`crate::fields::KINDS`].
    pub kind: String,
    /// Name of the object; empty for a kind without names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its fields.
    #[serde(default)]
    pub fields: Vec<FieldEdit>,
}

/// `site.edit`: on the staged site when there is one and `stage` is asked for, else on the one in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteEdit {
    /// One after the other; all or none.
    pub edits: Vec<Edit>,
    /// What then.
    #[serde(default)]
    pub terms: Terms,
}

/// `site.commit`: puts the staged site in force. Without one it confirms the change that waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteCommit {
    /// How; `stage` must be false.
    pub terms: Terms,
}

/// `site.confirm`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteConfirm {
    /// Words for the audit log.
    pub comment: String,
}

/// `site.discard`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteDiscard {}

/// `site.rollback`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteRollback {
    /// The version whose site comes back; missing is the one before the last change of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What then.
    pub terms: Terms,
}

/// A site to compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one in force.
    Running,
    /// The staged one.
    Staged,
    /// As it was.
    Version(u64),
    /// A site file, whole.
    Toml(String),
}

/// `site.compare`: missing sides are the running site and, when one is staged, the staged one; else the site before the
/// last change and the running one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteCompare {
    /// Old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Side>,
    /// New.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Side>,
}

/// `site.history`: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteHistory {
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `site.export`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteExport {
    /// As it was at this version; missing is the one in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The staged one.
    pub staged: bool,
}

/// `audit.list`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditList {
    /// At or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<When>,
    /// Before this; a day counts whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Login name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Oldest first; newest first when false.
    pub oldest_first: bool,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}
