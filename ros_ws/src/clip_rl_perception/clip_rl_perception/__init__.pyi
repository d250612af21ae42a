from clip_rl_perception.predict.image_model import Model as Model
from clip_rl_perception.predict.image_model import Result as Result
from clip_rl_perception.predict.image_model import Video as Video
from clip_rl_perception.predict.image_model import load as load

__version__: str
