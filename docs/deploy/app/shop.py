"""The app of the examples. Put yours in its place."""

from pgqueue import App

app = App()


@app.task
async def greet(name: str) -> str:
    return f"Hello, {name}!"
