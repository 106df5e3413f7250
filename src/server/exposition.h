// Prometheus text as Python's client library writes it: integers as 1.0, `_created` series, labels sorted.
// Scrapers of vLLM compare sample names exactly, so prometheus-cpp's own serialiser, which differs in all
// three, is not used.
#pragma once

#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace outrider::server::exposition {

double unix_seconds();
void append_header(std::string& out, const std::string& name, const std::string& help, const char* type);
void append_sample(std::string& out, const std::string& name,
                   std::vector<prometheus::ClientMetric::Label> labels, double value);
// `created`: Unix time for the `_created` gauges of counters and histograms.
void append_families(std::string& out, const std::vector<prometheus::MetricFamily>& families, double created);
// process_*: memory, processor time, open files, start time.
void append_process(std::string& out);

}  // namespace outrider::server::exposition
