#include "server/exposition.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/python_float.h"

namespace outrider::server::exposition {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Label = ClientMetric::Label;

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return python_float(value);
}

void append_escaped(std::string& out, const std::string& text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

std::string without_total(const std::string& name) {
  constexpr std::string_view kTotal = "_total";
  return name.ends_with(kTotal) ? name.substr(0, name.size() - kTotal.size()) : name;
}

void append_created(std::string& out, const MetricFamily& family, const std::string& base, double created) {
  append_header(out, base + "_created", family.help, "gauge");
  for (const ClientMetric& metric : family.metric)
    append_sample(out, base + "_created", metric.label, created);
}

void append_histogram(std::string& out, const std::string& name, const ClientMetric& metric) {
  for (const ClientMetric::Bucket& bucket : metric.histogram.bucket) {
    std::vector<Label> labels = metric.label;
    labels.push_back({"le", number(bucket.upper_bound)});
    append_sample(out, name + "_bucket", std::move(labels), static_cast<double>(bucket.cumulative_count));
  }
  append_sample(out, name + "_count", metric.label, static_cast<double>(metric.histogram.sample_count));
  append_sample(out, name + "_sum", metric.label, metric.histogram.sample_sum);
}

// Fields of /proc/self/stat after the process name, which may hold spaces.
std::vector<double> process_stat() {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t end = text.rfind(')');
  std::vector<double> fields;
  if (end == std::string::npos) return fields;
  std::istringstream rest(text.substr(end + 1));
  std::string state;
  rest >> state;
  for (double value = 0; rest >> value;) fields.push_back(value);
  return fields;
}

double boot_time() {
  std::ifstream file("/proc/stat");
  std::string word;
  double value = 0;
  while (file >> word) {
    if (word == "btime" && file >> value) return value;
  }
  return 0;
}

void append_gauge(std::string& out, const char* name, const char* help, double value,
                  const char* type = "gauge") {
  append_header(out, name, help, type);
  append_sample(out, name, {}, value);
}

}  // namespace

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void append_header(std::string& out, const std::string& name, const std::string& help, const char* type) {
  out += "# HELP " + name + " ";
  append_escaped(out, help, false);
  out += "\n# TYPE " + name + " " + type + "\n";
}

void append_sample(std::string& out, const std::string& name, std::vector<Label> labels, double value) {
  std::sort(labels.begin(), labels.end());
  out += name;
  for (size_t i = 0; i < labels.size(); ++i) {
    out += i == 0 ? "{" : ",";
    out += labels[i].name + "=\"";
    append_escaped(out, labels[i].value, true);
    out += '"';
  }
  if (!labels.empty()) out += '}';
  out += ' ' + number(value) + '\n';
}

void append_families(std::string& out, const std::vector<MetricFamily>& families, double created) {
  for (const MetricFamily& family : families) {
    if (family.metric.empty()) continue;
    switch (family.type) {
      case MetricType::Counter:
        append_header(out, family.name, family.help, "counter");
        for (const ClientMetric& metric : family.metric) {
          append_sample(out, family.name, metric.label, metric.counter.value);
        }
        append_created(out, family, without_total(family.name), created);
        break;
      case MetricType::Histogram:
        append_header(out, family.name, family.help, "histogram");
        for (const ClientMetric& metric : family.metric) append_histogram(out, family.name, metric);
        append_created(out, family, family.name, created);
        break;
      default:
        append_header(out, family.name, family.help, "gauge");
        for (const ClientMetric& metric : family.metric) {
          append_sample(out, family.name, metric.label, metric.gauge.value);
        }
        break;
    }
  }
}

void append_process(std::string& out) {
  const std::vector<double> stat = process_stat();
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  // Positions in proc(5) less the three fields before the list: 14 utime, 15 stime, 22 starttime, 23 vsize,
  // 24 rss.
  if (stat.size() > 20) {
    append_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.", stat[19]);
    append_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.",
                 stat[20] * static_cast<double>(sysconf(_SC_PAGESIZE)));
    append_gauge(out, "process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
                 boot_time() + stat[18] / ticks);
    append_gauge(out, "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
                 (stat[10] + stat[11]) / ticks, "counter");
  }
  std::error_code ignored;
  double open = 0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", ignored);
       !ignored && it != std::filesystem::directory_iterator(); it.increment(ignored)) {
    ++open;
  }
  append_gauge(out, "process_open_fds", "Number of open file descriptors.", open);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    append_gauge(out, "process_max_fds", "Maximum number of open file descriptors.",
                 static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace outrider::server::exposition
