//! Grafana's dashboard model (grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model), as much of it as
//! the dashboards need. The data source is a variable, so that an import asks for nothing.

use serde_json::{Value, json};

/// The version of the model: Grafana 10.4 and later read it as it is, and migrate it themselves.
const SCHEMA_VERSION: u32 = 39;
/// A dashboard is so many columns wide.
const COLUMNS: u32 = 24;

/// How a panel shows its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lines,
    /// Lines one upon the other.
    Stack,
    /// What happened in each step.
    Bars,
    /// Zero or one over time: which colour zero has.
    States {
        good: Good,
    },
    /// The latest value of each series.
    Stat,
    /// A row for each service, a column for each query.
    Table,
}

/// Which of the two values is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Good {
    Zero,
    One,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) expression: String,
    /// Of a table, the column's title.
    pub(super) legend: String,
    /// Of a table, the column's unit.
    pub(super) unit: &'static str,
}

#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: &'static str,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) queries: Vec<Query>,
    /// From which values on a panel is orange, and red.
    pub(super) thresholds: Option<(f64, f64)>,
    /// What a panel says that has no series.
    pub(super) no_value: &'static str,
    /// Of a table, the labels that are its first columns, and their titles.
    pub(super) columns: &'static [(&'static str, &'static str)],
}

impl Panel {
    pub(super) fn new(
        kind: Kind,
        title: &'static str,
        unit: &'static str,
        description: &'static str,
    ) -> Self {
        Self {
            title,
            description,
            kind,
            unit,
            width: 8,
            height: 8,
            queries: Vec::new(),
            thresholds: None,
            no_value: "no data",
            columns: &[],
        }
    }

    pub(super) fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    pub(super) fn query(mut self, expression: impl Into<String>, legend: impl Into<String>) -> Self {
        self.queries.push(Query {
            expression: expression.into(),
            legend: legend.into(),
            unit: self.unit,
        });
        self
    }

    pub(super) fn column(mut self, title: &str, unit: &'static str, expression: String) -> Self {
        self.queries.push(Query {
            expression,
            legend: title.to_owned(),
            unit,
        });
        self
    }

    pub(super) fn with_columns(mut self, columns: &'static [(&'static str, &'static str)]) -> Self {
        self.columns = columns;
        self
    }

    pub(super) fn thresholds(mut self, orange: f64, red: f64) -> Self {
        self.thresholds = Some((orange, red));
        self
    }

    pub(super) fn no_value(mut self, text: &'static str) -> Self {
        self.no_value = text;
        self
    }

    fn is_instant(&self) -> bool {
        matches!(self.kind, Kind::Stat | Kind::Table)
    }

    fn targets(&self) -> Vec<Value> {
        let target = |(index, query): (usize, &Query)| {
            json!({
                "refId": reference(index),
                "datasource": datasource(),
                "expr": query.expression,
                "legendFormat": query.legend,
                // Grafana makes $__rate_interval of it: four of kevmon's default intervals.
                "interval": "1m",
                "instant": self.is_instant(),
                "range": !self.is_instant(),
                "format": if self.kind == Kind::Table { "table" } else { "time_series" },
            })
        };
        self.queries.iter().enumerate().map(target).collect()
    }

    fn defaults(&self) -> Value {
        let steps = match self.thresholds {
            None => json!([{ "color": "green", "value": null }]),
            Some((orange, red)) => json!([
                { "color": "green", "value": null },
                { "color": "orange", "value": orange },
                { "color": "red", "value": red },
            ]),
        };
        let (style, stacked, fill) = match self.kind {
            Kind::Bars => ("bars", "normal", 70),
            Kind::Stack => ("line", "normal", 30),
            _ => ("line", "none", 10),
        };
        let mut defaults = json!({
            "unit": self.unit,
            "noValue": self.no_value,
            "color": { "mode": if matches!(self.kind, Kind::Stat) { "thresholds" } else { "palette-classic" } },
            "thresholds": { "mode": "absolute", "steps": steps },
        });
        match self.kind {
            Kind::Lines | Kind::Stack | Kind::Bars => {
                defaults["min"] = json!(0);
                defaults["custom"] = json!({
                    "drawStyle": style,
                    "fillOpacity": fill,
                    "lineWidth": 1,
                    "showPoints": "auto",
                    // What is not known leaves a gap.
                    "spanNulls": false,
                    "stacking": { "mode": stacked, "group": "A" },
                    "thresholdsStyle": { "mode": if self.thresholds.is_some() { "line" } else { "off" } },
                });
            }
            Kind::States { good } => {
                let (zero, one) = match good {
                    Good::Zero => ("green", "red"),
                    Good::One => ("red", "green"),
                };
                defaults["custom"] = json!({ "fillOpacity": 80, "lineWidth": 0 });
                defaults["mappings"] = json!([{ "type": "value", "options": {
                    "0": { "color": zero, "index": 0, "text": "no" },
                    "1": { "color": one, "index": 1, "text": "yes" },
                } }]);
            }
            Kind::Stat | Kind::Table => {}
        }
        defaults
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({
                "colorMode": "background",
                "graphMode": "none",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "textMode": "auto",
            }),
            Kind::Table => json!({ "cellHeight": "sm", "showHeader": true }),
            Kind::States { .. } => json!({
                "mergeValues": true,
                "showValue": "never",
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            }),
            Kind::Lines | Kind::Stack | Kind::Bars => json!({
                "legend": { "calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
        }
    }

    fn model(&self, id: u32, x: u32, y: u32) -> Value {
        let mut model = json!({
            "id": id,
            "type": match self.kind {
                Kind::Lines | Kind::Stack | Kind::Bars => "timeseries",
                Kind::States { .. } => "state-timeline",
                Kind::Stat => "stat",
                Kind::Table => "table",
            },
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "targets": self.targets(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": [] },
            "options": self.options(),
        });
        if self.kind == Kind::Table {
            model["transformations"] = self.transformations();
            model["fieldConfig"]["overrides"] = self.queries.iter().map(column_override).collect();
        }
        model
    }

    /// One row for each service: the queries' answers side by side, under the columns' titles.
    fn transformations(&self) -> Value {
        let mut names = serde_json::Map::new();
        let mut order = serde_json::Map::new();
        for (label, title) in self.columns {
            names.insert((*label).to_owned(), json!(title));
        }
        for (index, query) in self.queries.iter().enumerate() {
            names.insert(format!("Value #{}", reference(index)), json!(query.legend));
        }
        for (index, name) in names.keys().enumerate() {
            order.insert(name.clone(), json!(index));
        }
        let hidden = [
            "Time",
            "instance",
            "job",
            "service_namespace",
            "service_instance_id",
        ];
        let is_column = |name: &&str| self.columns.iter().any(|(label, _)| label == name);
        let hidden = hidden.into_iter().filter(|name| !is_column(name));
        let hidden = hidden.map(|name| (name.to_owned(), json!(true)));
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": {
                "excludeByName": serde_json::Map::from_iter(hidden),
                "indexByName": order,
                "renameByName": names,
            } },
        ])
    }
}

fn column_override(query: &Query) -> Value {
    json!({
        "matcher": { "id": "byName", "options": query.legend },
        "properties": [{ "id": "unit", "value": query.unit }],
    })
}

fn reference(index: usize) -> char {
    char::from(b'A' + u8::try_from(index).unwrap_or(25))
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Panels under one heading.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) title: &'static str,
    /// Grafana asks nothing for a row that nobody has opened.
    pub(super) is_collapsed: bool,
    pub(super) panels: Vec<Panel>,
}

/// A variable whose values are a label's.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) query: String,
}

impl Variable {
    fn model(&self) -> Value {
        json!({
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": datasource(),
            "definition": self.query,
            "query": { "query": self.query, "refId": "Variable" },
            "includeAll": true,
            "multi": true,
            "allValue": ".*",
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            // When the range of time changes.
            "refresh": 2,
            "sort": 1,
        })
    }
}

#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) variables: Vec<Variable>,
    pub(super) rows: Vec<Row>,
}

impl Dashboard {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        format!("{:#}\n", self.model())
    }

    fn model(&self) -> Value {
        let datasource = json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
        });
        let variables = self.variables.iter().map(Variable::model);
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["kevmon"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "1m",
            "time": { "from": "now-6h", "to": "now" },
            "timezone": "browser",
            "links": [
                { "type": "dashboards", "tags": ["kevmon"], "title": "kevmon", "asDropdown": true, "includeVars": false, "keepTime": true },
                { "type": "link", "title": "What to do", "url": super::RUNBOOK, "icon": "doc", "targetBlank": true },
            ],
            "templating": { "list": std::iter::once(datasource).chain(variables).collect::<Vec<_>>() },
            "annotations": { "list": [] },
            "panels": self.panels(),
        })
    }

    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut id, mut y) = (Vec::new(), 0, 0);
        let mut next = || {
            id += 1;
            id
        };
        for row in &self.rows {
            let heading = next();
            let (inside, bottom) = placed(&row.panels, y + 1, &mut next);
            let (nested, beside) = if row.is_collapsed {
                (inside, Vec::new())
            } else {
                (Vec::new(), inside)
            };
            panels.push(json!({
                "id": heading,
                "type": "row",
                "title": row.title,
                "collapsed": row.is_collapsed,
                "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
                "panels": nested,
            }));
            panels.extend(beside);
            y = if row.is_collapsed { y + 1 } else { bottom };
        }
        panels
    }
}

/// The panels from left to right and from top to bottom, and where the next row begins.
fn placed(panels: &[Panel], top: u32, next: &mut impl FnMut() -> u32) -> (Vec<Value>, u32) {
    let (mut x, mut y, mut tallest, mut models) = (0, top, 0, Vec::new());
    for panel in panels {
        if x + panel.width > COLUMNS {
            (x, y, tallest) = (0, y + tallest, 0);
        }
        models.push(panel.model(next(), x, y));
        x += panel.width;
        tallest = tallest.max(panel.height);
    }
    (models, y + tallest)
}
