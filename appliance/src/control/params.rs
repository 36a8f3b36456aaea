//! System parameters: list, get, set.

use tandem_control::error::ErrorObject;
use tandem_control::reply;
use tandem_control::request::ParamSet;
use tandem_rating::record::Actor;

use super::change::{Proposal, invalid};
use super::{Control, Reply, reply};
use crate::params::{self, Param, TABLE};
use crate::site::{diff, lines};

impl Control {
    fn param_row(&self, param: &'static Param) -> reply::ParamRow {
        let state = self.state.borrow();
        reply::ParamRow {
            name: param.name.to_owned(),
            value: state.params.get(param).to_owned(),
            default: param.default.to_owned(),
            range: param.kind.allowed(),
            unit: param.unit.to_owned(),
            meaning: param.meaning.to_owned(),
            used: param.reader.is_some(),
            read_by: param.reader.unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn param_list(&self, prefix: Option<&str>) -> Reply {
        let mut rows: Vec<_> = TABLE
            .iter()
            .filter(|param| prefix.is_none_or(|prefix| param.name.starts_with(prefix)))
            .map(|param| self.param_row(param))
            .collect();
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        reply(&reply::ParamList { total: rows.len() as u64, rows })
    }

    fn param(name: &str) -> Result<&'static Param, ErrorObject> {
        params::find(name).map_err(|_| {
            let names: Vec<&str> = TABLE.iter().map(|p| p.name).collect();
            ErrorObject::not_found("system parameter", name, &names)
        })
    }

    pub(super) fn param_get(&self, name: &str) -> Reply {
        reply(&self.param_row(Control::param(name)?))
    }

    pub(super) async fn param_set(&self, actor: &Actor, command: &str, q: ParamSet) -> Reply {
        let _one = self.changing.lock().await;
        let (name, value) = (q.name.as_str(), q.value.as_str());
        let param = Control::param(name)?;
        let before = self.param_row(param).value;
        let (site, changes) = {
            let state = self.state.borrow();
            state.params.clone().set(name, value).map_err(|error| invalid(error.to_string()))?;
            let mut site = state.site.clone();
            site.params.insert(param.name.to_owned(), value.trim().to_owned());
            let changes = lines(&diff(&state.site, &site));
            (site, changes)
        };
        // The same value again is no change: no version, no row.
        if !changes.is_empty() {
            self.must_not_wait()?;
            self.commit(actor, Proposal { site: Some(site), changes, ..Proposal::new("param", command, &q.comment) })
                .await?;
        }
        reply(&reply::ParamSet { param: self.param_row(param), before })
    }
}
