// Where the calls of previews go: to the task, or to a job of people who may annotate jobs only.

export class Place {
  constructor(data) {
    this.task = data.task;
    this.jobs = data.jobs_only ? data.jobs : null;
  }

  // The members of a call that name the task or the job of a frame.
  members(frame) {
    return this.jobs ? { job: this.job(frame) } : { task: this.task.id };
  }

  image(frame) {
    return `${this.url(frame)}/data?type=frame&number=${frame}&quality=compressed`;
  }

  url(frame) {
    return this.jobs ? `/api/jobs/${this.job(frame)}` : `/api/tasks/${this.task.id}`;
  }

  job(frame) {
    const found = this.jobs.find(({ frames: [first, last] }) => first <= frame && frame <= last);
    if (!found) throw new Error(`Frame ${frame} is in none of your jobs.`);
    return found.id;
  }

  // Up to three frames to look at, spread over what may be run.
  get suggestion() {
    const [first, last] = this.jobs ? this.jobs[0].frames : [0, this.task.size - 1];
    return [...new Set([first, Math.floor((first + last) / 2), last])].filter((frame) => frame >= 0).join(", ");
  }
}
