//! What the runners of Python plugins make of texts: settings, `-c`, and values that JSON has no words for.

use super::collectors_python::by_hand;

/// Prints its settings, each in the way in which it was asked for.
const TELLS: &str = r#"
from scalyr_agent import ScalyrMonitor, define_config_option
from scalyr_agent.json_lib.objects import ArrayOfStrings
__monitor__ = __name__
define_config_option(__monitor__, 'api_version', 'Defined as a text', convert_to=str)
define_config_option(__monitor__, 'device', 'Defined without a type', default='none')
define_config_option(__monitor__, 'limit', 'Without a type, with a bound', max_value=9)

class Tells(ScalyrMonitor):
    def __init__(self, monitor_config, logger, **others):
        self.early = monitor_config['share'] if 'share' in monitor_config else None
        super(Tells, self).__init__(monitor_config, logger, **others)

    def gather_sample(self):
        emit, config = self._logger.emit_value, self._config
        emit('id', self.monitor_id)
        emit('api_version', config.get('api_version', default=''))
        emit('device', config.get('device', convert_to=str))
        emit('device_as_it_looks', config.get('device'))
        emit('share', config.get('share', default=0))
        emit('share_early', self.early if self.early is not None else 0)
        emit('share_item', config['share'] if 'share' in config else 0)
        emit('flag', config.get('flag', convert_to=bool, default=False))
        emit('names', '|'.join(config.get('names', convert_to=ArrayOfStrings, default=[])))
"#;

#[test]
fn a_setting_is_a_text_until_the_module_says_what_it_is() {
    let variables = [
        ("KEVMON_SETTING_id", "12e3"),
        ("KEVMON_SETTING_api_version", "1.10"),
        ("KEVMON_SETTING_device", "12e3"),
        ("KEVMON_SETTING_share", "0.5"),
        ("KEVMON_SETTING_flag", "true"),
        ("KEVMON_SETTING_names", "1.10"),
    ];
    let output = by_hand("scalyr", TELLS, &["--once"], &variables);
    output.assert_code(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            r#"id "12e3""#,
            r#"api_version "1.10""#,
            r#"device "12e3""#,
            "device_as_it_looks 12000.0",
            "share 0.5",
            "share_early 0.5",
            "share_item 0.5",
            "flag true",
            r#"names "1.10""#,
        ],
        "{}",
        output.stderr
    );
    // A bound holds for what a text looks like.
    let output = by_hand("scalyr", TELLS, &["--once"], &[("KEVMON_SETTING_limit", "10")]);
    output.assert_code(2);
    assert!(
        output
            .stderr
            .contains("the value 10 in field \"limit\" is too great"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_configuration_may_have_comments_with_quotes_in_them() {
    for (config, expected) in [
        ("{share: 1 // don't\n, device: 'x'}", "share 1"),
        ("{share: 2, // \"one\n}", "share 2"),
        ("{/* it's, */ share: 3}", "share 3"),
        ("{share: 4 /* {\n\"share\": 5} // */, }", "share 4"),
        ("{device: \"http://x/*y*/\"}", r#"device "http://x/*y*/""#),
        ("{'device': 'a//b'}", r#"device "a//b""#),
        (r#"{device: 'it\'s "so"'}"#, r#"device "it's \"so\"""#),
        ("{names: ['a', // one\n 'b', /* two */ ]}", r#"names "a|b""#),
    ] {
        let output = by_hand("scalyr", TELLS, &["--once", "-c", config], &[]);
        output.assert_code(0);
        assert!(
            output.stdout.lines().any(|line| line == expected),
            "{config}: no {expected} in {}",
            output.stdout
        );
    }
}

const FINITE: &str = r#"
from yahoo_panoptes.polling.polling_plugin import PanoptesPollingPlugin
from yahoo_panoptes.framework.metrics import (PanoptesMetricsGroupSet, PanoptesMetricsGroup, PanoptesMetric,
                                              PanoptesMetricType, PanoptesMetricDimension)

class Finite(PanoptesPollingPlugin):
    def run(self, context):
        groups = PanoptesMetricsGroupSet()
        group = PanoptesMetricsGroup(context.data, 'Infinity', 60)
        group.add_dimension(PanoptesMetricDimension('device', 'Infinity-NaN'))
        group.add_metric(PanoptesMetric('load', 0.5, PanoptesMetricType.GAUGE))
        for value in context.config['main'].get('others', '').split():
            group.add_metric(PanoptesMetric('odd_' + value, float(value), PanoptesMetricType.GAUGE))
        groups.add(group)
        return groups
"#;

#[test]
fn only_a_value_that_is_not_finite_is_left_out() {
    let output = by_hand("panoptes", FINITE, &[], &[]);
    output.assert_code(0);
    assert!(output.stdout.contains("Infinity-NaN"), "{}", output.stdout);
    assert_eq!(output.stderr, "", "nothing is left out");
    let variables = [("KEVMON_SETTING_others", "nan inf 1e3")];
    let output = by_hand("panoptes", FINITE, &[], &variables);
    output.assert_code(0);
    assert!(
        output.stdout.contains("odd_1e3") && !output.stdout.contains("odd_nan"),
        "{}",
        output.stdout
    );
    assert!(
        output.stderr.contains("2 values are not finite"),
        "{}",
        output.stderr
    );
}
