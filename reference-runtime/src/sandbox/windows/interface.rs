//! The interface limits of a job: clipboard, desktops, windows of others, atoms, settings, sign-out.
//! They stand in a job of their own, which comes first: Windows may refuse such a job to a process
//! that is in one already. It must never be told as held where it was not set.

use firehazard::{
    assign_process_to_job_object, create_job_object_w, get_current_process,
    job::object::{BasicUiRestrictions, uilimit},
    set_information_job_object,
};

/// This process joins a job with these limits, and with it whatever it starts.
///
/// # Errors
/// A sentence: this system refuses them here.
pub(super) fn limit() -> Result<(), String> {
    let refused = |error: firehazard::Error| format!("no interface limits: {error:?}");
    let job = create_job_object_w(None, ()).map_err(refused)?;
    let limits = BasicUiRestrictions {
        ui_restrictions_class: uilimit::HANDLES
            | uilimit::READCLIPBOARD
            | uilimit::WRITECLIPBOARD
            | uilimit::SYSTEMPARAMETERS
            | uilimit::DISPLAYSETTINGS
            | uilimit::GLOBALATOMS
            | uilimit::DESKTOP
            | uilimit::EXITWINDOWS,
    };
    set_information_job_object(&job, limits).map_err(refused)?;
    // The job lives as long as a process is in it; no handle is needed.
    assign_process_to_job_object(&job, get_current_process()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use firehazard::is_process_in_job;
    use win_custody::{Job, JobLimits};

    use super::*;

    #[test]
    fn a_process_that_is_limited_can_still_join_a_job_with_other_limits() {
        if is_process_in_job(get_current_process(), None).unwrap() {
            eprintln!("not run: this test is in a job already");
            return;
        }
        limit().unwrap();
        assert!(is_process_in_job(get_current_process(), None).unwrap());
        Job::create(&JobLimits::new().active_processes(8))
            .unwrap()
            .assign_current_process()
            .unwrap();
    }
}
