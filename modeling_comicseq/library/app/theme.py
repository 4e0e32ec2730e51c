"""How the app looks: Gradio's own theme with the fonts that the reader's system has. None is fetched from anywhere."""

from __future__ import annotations

import gradio as gr

__all__ = ["app_theme"]

_WORDS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
_CODE = ("ui-monospace", "Consolas", "Noto Sans Mono", "Liberation Mono", "monospace")


def app_theme() -> gr.themes.Base:
    """The theme; its fonts are names of fonts that systems have (Gradio's default asks a font service)."""
    return gr.themes.Default(
        primary_hue="blue", secondary_hue="blue", neutral_hue="slate", font=_WORDS, font_mono=_CODE
    )
