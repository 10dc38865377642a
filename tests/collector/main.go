// A small OpenTelemetry Collector for the end-to-end tests: the core's own OTLP receiver over gRPC and HTTP, the core's OTLP
// exporters, and an exporter that appends each request to a file as a line of OTLP/JSON. README.md says how it is built.
package main

import (
	"context"
	"errors"
	"log"
	"os"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
)

func main() {
	settings := otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{
			Command:     "collector",
			Description: "The OpenTelemetry Collector's core for kevmon's tests",
			Version:     "tests",
		},
		Factories: factories,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
				DefaultScheme:     "file",
			},
		},
	}
	if err := otelcol.NewCommand(settings).Execute(); err != nil {
		log.Fatal(err)
	}
}

func factories() (otelcol.Factories, error) {
	otlp, lines, http := otlpreceiver.NewFactory(), jsonLines(), otlphttpexporter.NewFactory()
	return otelcol.Factories{
		Receivers: map[component.Type]receiver.Factory{otlp.Type(): otlp},
		Exporters: map[component.Type]exporter.Factory{lines.Type(): lines, http.Type(): http},
		Telemetry: otelconftelemetry.NewFactory(),
	}, nil
}

// jsonLinesConfig is the configuration of the exporter `jsonlines`.
type jsonLinesConfig struct {
	// Path names the file that is appended to.
	Path string `mapstructure:"path"`
}

// Validate implements xconfmap.Validator.
func (c *jsonLinesConfig) Validate() error {
	if c.Path == "" {
		return errors.New("path is missing")
	}
	return nil
}

func jsonLines() exporter.Factory {
	level := component.StabilityLevelDevelopment
	return exporter.NewFactory(
		component.MustNewType("jsonlines"),
		func() component.Config { return &jsonLinesConfig{} },
		exporter.WithMetrics(func(ctx context.Context, set exporter.Settings, config component.Config) (exporter.Metrics, error) {
			push := func(_ context.Context, data pmetric.Metrics) error {
				return write(config, (&pmetric.JSONMarshaler{}).MarshalMetrics, data)
			}
			return exporterhelper.NewMetrics(ctx, set, config, push, capabilities)
		}, level),
		exporter.WithLogs(func(ctx context.Context, set exporter.Settings, config component.Config) (exporter.Logs, error) {
			push := func(_ context.Context, data plog.Logs) error {
				return write(config, (&plog.JSONMarshaler{}).MarshalLogs, data)
			}
			return exporterhelper.NewLogs(ctx, set, config, push, capabilities)
		}, level),
		exporter.WithTraces(func(ctx context.Context, set exporter.Settings, config component.Config) (exporter.Traces, error) {
			push := func(_ context.Context, data ptrace.Traces) error {
				return write(config, (&ptrace.JSONMarshaler{}).MarshalTraces, data)
			}
			return exporterhelper.NewTraces(ctx, set, config, push, capabilities)
		}, level),
	)
}

var capabilities = exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false})

// write appends a request as a line. The line is written at once, so that a reader finds whole lines and the end of the last
// one at most.
func write[T any](config component.Config, marshal func(T) ([]byte, error), data T) error {
	line, err := marshal(data)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(config.(*jsonLinesConfig).Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	return err
}
