"""Comics drawn by the package itself: their pictures, panels, texts, speakers and states are known and nobody's."""
