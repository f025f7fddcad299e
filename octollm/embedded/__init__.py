"""PostgreSQL and Valkey from wheels, and the supervisor around everything.

``octollm up`` reads, in order: `up` (the start), `place` (the data directory),
`engines` (the two servers), `stamp` and `prepare` (migrations, first account),
`supervisor` (watching and stopping).

What is promised, and by what:

- Nothing outlives the supervisor by more than 10 s. Direct children get a signal from
  the kernel (`processes.spawn`), their children hold a tether (`tether`), and each
  child's group and orphans go with it (`supervisor`).
- An ordered stop ends within 48 s: programs get 15 s, then each engine 10 s and, if
  it does not obey, 6 s more. Usually it takes 1 to 3 s.
- Whatever ends unexpectedly is started again: after 0.5 s, then 1, 2, 4 s. Five ends
  within a minute, or no answer 60 s after a new start, and everything stops in order
  with the reason; data is never at risk, since every start recovers from a kill.
- A log has at most about 10 MB, and so has the one before it (``NAME.log.1``).
"""
