"""Handlers that complete their jobs in a transaction of SQLAlchemy, for workers and child processes."""

from __future__ import annotations

import os
import signal

from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from pgqueue import App, Job
from pgqueue.database.dsn import sqlalchemy_url

DSN = os.environ.get("PGQUEUE_DSN", "postgresql://nowhere")

app = App(DSN)
Session = sessionmaker(create_engine(sqlalchemy_url(DSN).set(drivername="postgresql+psycopg")))


@app.task(name="tell")
def tell() -> None: ...


@app.task(name="pay", executor="process")
def pay(job: Job) -> None:
    with job.transaction(using=Session) as session:
        session.execute(text("insert into public.effects (pid) values (:pid)"), {"pid": os.getpid()})
        tell.using(session).enqueue()
        job.finish({"paid": True})


@app.task(name="pay_and_die", executor="process", retry=False)
def pay_and_die(job: Job) -> None:
    with job.transaction():
        job.finish("paid")
    os.kill(os.getpid(), signal.SIGKILL)
