//! The process, by the names that all of Prometheus' client libraries have for it:
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// Looks at the process whenever somebody asks. Of what can't be read nothing is told.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    #[cfg(target_os = "linux")]
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        linux::encode(encoder)
    }

    #[cfg(not(target_os = "linux"))]
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::WithCurrentSystemInfo as _;
    use procfs::process::LimitValue;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    pub(super) fn encode(mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let mut tell = |name: &str, help: &str, value: &dyn EncodeMetric| {
            value.encode(to.encode_descriptor(name, help, None, value.metric_type())?)
        };
        let Ok(process) = procfs::process::Process::myself() else { return Ok(()) };
        if let Ok(stat) = process.stat() {
            let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
            tell("process_cpu_seconds", "Processor time that was used", &ConstCounter::new(cpu))?;
            let memory = stat.rss_bytes().get();
            tell("process_resident_memory_bytes", "Memory in use", &ConstGauge::new(memory.cast_signed()))?;
            tell("process_virtual_memory_bytes", "Addresses in use", &ConstGauge::new(stat.vsize.cast_signed()))?;
            tell("process_threads", "Threads", &ConstGauge::new(stat.num_threads))?;
            if let Ok(booted) = procfs::boot_time_secs() {
                let began = ConstGauge::new((booted + stat.starttime / procfs::ticks_per_second()).cast_signed());
                tell("process_start_time_seconds", "When it began, in seconds since 1970", &began)?;
            }
        }
        if let Ok(open) = process.fd_count() {
            tell("process_open_fds", "Open files and connections", &ConstGauge::new(open as i64))?;
        }
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            tell(
                "process_max_fds",
                "Open files and connections that there may be",
                &ConstGauge::new(most.cast_signed()),
            )?;
        }
        Ok(())
    }
}
