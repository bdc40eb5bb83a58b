//! What must be in force.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use tidegate_tests::config::guest;

use super::Side;

/// Routes through the counter.
pub(super) const ROUTES: usize = 4;
/// A route through a filter that traps.
pub(super) const HOSTILE: &str = "hostile";
/// Failures after which that filter is called no more.
pub(super) const MAX_FAILURES: usize = 3;

/// The configuration, and what was decided beside it.
#[derive(Debug)]
pub(super) struct Model {
    address: String,
    /// Of the endpoint; another one changes no route.
    weight: u32,
    routes: Vec<Route>,
    pub(super) quarantined: bool,
    /// Further routes, that make a reload take its time.
    others: usize,
    labels: usize,
}

#[derive(Debug)]
struct Route {
    label: String,
    candidate: Option<Candidate>,
}

/// A candidate for the filter of a route.
#[derive(Debug)]
pub(super) struct Candidate {
    label: String,
    pub(super) standing: Standing,
    /// Whether its trial has just begun: connections that are open have the filter.
    is_fresh: bool,
}

/// What has become of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    OnTrial,
    Promoted,
    RolledBack,
}

impl Standing {
    /// As the admin API says it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::OnTrial => "on_trial",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
        }
    }

    pub(super) fn read(label: &str) -> Self {
        let all = [Self::OnTrial, Self::Promoted, Self::RolledBack];
        all.into_iter().find(|standing| standing.label() == label).unwrap_or_else(|| panic!("no standing: {label}"))
    }
}

impl Model {
    pub(super) fn new(address: &str) -> Self {
        let routes = (0..ROUTES).map(|number| Route { label: format!("f{number} "), candidate: None }).collect();
        Self { address: address.to_owned(), weight: 1, routes, quarantined: false, others: 0, labels: ROUTES }
    }

    /// A configuration without components, to start with.
    pub(super) fn start(&self) -> String {
        format!("{HEAD}{}[[routes]]\nname = \"start\"\npath = \"/start\"\nupstream = \"back\"\n", self.upstream())
    }

    /// The configuration.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{HEAD}{}", self.upstream());
        for (number, Route { label, candidate }) in self.routes.iter().enumerate() {
            let candidate = candidate.as_ref().map_or(String::new(), |candidate| {
                let label = &candidate.label;
                format!(", candidate = {{ component = 'next', config = {{ label = '{label}' }}, canary = '50%' }}")
            });
            let filter = format!("{{ component = 'counter', config = {{ label = '{label}' }}{candidate} }}");
            let _ = write!(
                text,
                "[[routes]]\nname = \"r{number}\"\npath = \"/r{number}\"\nupstream = \"back\"\nfilters = [{filter}]\n"
            );
        }
        for other in 0..self.others {
            let filter = format!("{{ component = 'counter', config = {{ label = 'o{other} ' }} }}");
            let route = format!("[[routes]]\nname = \"o{other}\"\npath = \"/o{other}\"\nupstream = \"back\"\n");
            let _ = writeln!(text, "{route}filters = [{filter}]");
        }
        for component in ["counter", "next"] {
            let _ = write!(text, "[components.{component}]\npath = \"{component}.wasm\"\ndeadline = \"1s\"\n");
        }
        let hostile = guest(HOSTILE);
        let filter = "{ component = 'hostile', config = { do = 'trap' } }";
        let _ = write!(
            text,
            "{hostile}max_failures = {MAX_FAILURES}\nfailure_window = \"1h\"\n[[routes]]\nname = \"{HOSTILE}\"\n\
             path = \"/{HOSTILE}\"\nupstream = \"back\"\nfilters = [{filter}]\n"
        );
        text
    }

    /// Has other routes come, or go.
    /// Has the upstream another endpoint, or another weight for it.
    pub(super) fn change_endpoints(&mut self) {
        self.weight = self.weight % 3 + 1;
    }

    fn upstream(&self) -> String {
        let Self { address, weight, .. } = self;
        // Nobody is sent to what is off.
        let off = if *weight == 2 { ", { url = \"ws://127.0.0.1:9\", enabled = false }" } else { "" };
        format!("[upstreams.back]\nendpoints = [{{ url = \"ws://{address}\", weight = {weight} }}{off}]\n")
    }

    pub(super) fn change_others(&mut self) {
        self.others = if self.others == 0 { OTHERS } else { 0 };
    }

    fn fresh(&mut self, side: &str) -> String {
        self.labels += 1;
        format!("{side}{} ", self.labels)
    }

    /// Gives the filter of a route another configuration. Its candidate's trial goes on.
    pub(super) fn relabel(&mut self, route: usize) {
        self.routes[route].label = self.fresh("f");
    }

    /// Gives a route a candidate, or its candidate another configuration: a trial begins.
    pub(super) fn try_candidate(&mut self, route: usize) {
        let label = self.fresh("c");
        let before = self.routes[route].candidate.take();
        // A trial that goes on with another candidate leaves each connection on the side that it has.
        let is_fresh = before.is_none_or(|before| before.standing != Standing::OnTrial);
        self.routes[route].candidate = Some(Candidate { label, standing: Standing::OnTrial, is_fresh });
    }

    pub(super) fn forget_candidate(&mut self, route: usize) {
        self.routes[route].candidate = None;
    }

    pub(super) fn candidate(&self, route: usize) -> Option<&Candidate> {
        self.routes[route].candidate.as_ref()
    }

    pub(super) fn decide(&mut self, route: usize, standing: Standing) {
        let candidate = self.routes[route].candidate.as_mut().unwrap();
        candidate.standing = standing;
        candidate.is_fresh = false;
    }

    /// What was decided about a candidate has ended with a new build of it, whose trial begins.
    pub(super) fn try_anew(&mut self, route: usize) {
        self.routes[route].candidate.as_mut().unwrap().try_anew();
    }

    /// The connections of a route have what they are to have.
    pub(super) fn settled(&mut self, route: usize) {
        self.routes[route].candidate.iter_mut().for_each(|candidate| candidate.is_fresh = false);
    }

    /// The component of all candidates was built anew: a promotion holds, and any other trial begins anew.
    pub(super) fn rebuilt(&mut self) {
        let candidates = self.routes.iter_mut().filter_map(|route| route.candidate.as_mut());
        candidates.filter(|candidate| candidate.standing == Standing::RolledBack).for_each(Candidate::try_anew);
    }

    /// A process that starts knows only the file.
    pub(super) fn restarted(&mut self) {
        self.quarantined = false;
        for candidate in self.routes.iter_mut().filter_map(|route| route.candidate.as_mut()) {
            (candidate.standing, candidate.is_fresh) = (Standing::OnTrial, false);
        }
    }

    /// The labels that connections of a route may have.
    pub(super) fn labels(&self, route: usize) -> BTreeSet<String> {
        let Route { label, candidate } = &self.routes[route];
        let labels = match candidate {
            Some(Candidate { label, standing: Standing::Promoted, .. }) => vec![label],
            Some(Candidate { label: its, standing: Standing::OnTrial, .. }) => vec![label, its],
            _ => vec![label],
        };
        labels.into_iter().cloned().collect()
    }

    /// The labels that connections of a route may have, whatever is decided.
    pub(super) fn all_labels(&self, route: usize) -> BTreeSet<String> {
        let Route { label, candidate } = &self.routes[route];
        [label].into_iter().chain(candidate.as_ref().map(|candidate| &candidate.label)).cloned().collect()
    }

    /// Who serves all connections of a route that were there before; `None`: whoever did.
    pub(super) fn side(&self, route: usize) -> Option<Side> {
        match self.candidate(route) {
            Some(Candidate { standing: Standing::OnTrial, is_fresh: false, .. }) => None,
            Some(Candidate { standing: Standing::Promoted, .. }) => Some(Side::Candidate),
            _ => Some(Side::Filter),
        }
    }
}

impl Candidate {
    fn try_anew(&mut self) {
        (self.standing, self.is_fresh) = (Standing::OnTrial, true);
    }
}

const OTHERS: usize = 100;
const HEAD: &str = "workers = 2\ndrain_time = \"200ms\"\n";
