"""A drawn world of pedestrians: colour, infrared, sketches, masks and captions, deterministic by seed.

Shapes -> one map of labels -> every modality. `World(seed, size)` lists a split's identities and draws their captures.

- `vocabulary`: values, frequencies, colours, materials; `identities`: who there is, split regions, bodies;
- `cameras`: cameras and shots (view, pose); `scenery`: streets behind and things before the person;
- `figure`, `geometry`, `clothes`, `fronts`, `head`, `headwear`, `bags`, `assembly`: the person as shapes;
- `raster`: shapes as pixels;
- `fabrics`: patterns and textures that colour and infrared share; `colour`, `infrared`, `sketch`, `captions`.
"""

from reidsynth.world.identities import Identity, differences, region
from reidsynth.world.world import Capture, World

__all__ = ["Capture", "Identity", "World", "differences", "region"]
